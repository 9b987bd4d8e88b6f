"""What a run did and what the validators say, as text for people."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Mapping

from tests.robustness.evidence import Evidence
from tests.robustness.history import Batch, Cleared, Ended, Fault, Got, History, Listed, Wrote
from tests.robustness.validators import VALIDATORS

SHOWN_MAX = 5


def judge(history: History) -> dict[str, list[str]]:
    """Violations by guarantee; those without any are there with none."""
    evidence = Evidence(history)
    return {name: list(validator(evidence)) for name, validator in VALIDATORS.items()}


def failed(verdict: Mapping[str, list[str]]) -> bool:
    return any(verdict.values())


def describe(history: History, verdict: Mapping[str, list[str]], path: pathlib.Path, seed: int) -> str:
    lines = [f"seed {seed}", f"faults {_counted(Counter(fault.name for fault in history.of(Fault)))}"]
    operations: dict[str, Counter[str]] = {}
    for record in history.records:
        match record:
            case Wrote():
                operations.setdefault(record.verb, Counter())[record.outcome] += 1
            case Cleared():
                operations.setdefault("clear", Counter())[record.outcome] += 1
            case Got():
                operations.setdefault("get", Counter())[record.outcome] += 1
            case Listed():
                operations.setdefault("list", Counter())[record.outcome] += 1
    lines += [f"{verb:8} {_counted(operations[verb])}" for verb in sorted(operations)]
    ends = Counter(ended.reason or ended.by for ended in history.of(Ended))
    batches = history.of(Batch)
    lines.append(f"watches  {len(history.sessions)}, ended by {_counted(ends)}")
    lines.append(
        f"events   {sum(len(batch.events) for batch in batches)} in {len(batches)} messages, "
        f"{sum(batch.bookmark for batch in batches)} bookmarks"
    )
    for name, violations in verdict.items():
        lines.append(f"{name:13} {'ok' if not violations else f'{len(violations)} VIOLATIONS'}")
        lines += [f"    {violation}" for violation in violations[:SHOWN_MAX]]
    if failed(verdict):
        lines.append(f"FAILED: seed {seed}, history {path}")
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "none"
