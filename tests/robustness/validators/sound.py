"""Sound: nothing crashed, no server answered with an internal error, and every client came back after the faults."""

from __future__ import annotations

from collections.abc import Iterator

from tests.robustness.evidence import Evidence
from tests.robustness.history import Ended, Final, Got, Incident, Listed, Wrote

_BUGS = ("INTERNAL", "UNIMPLEMENTED", "DATA_LOSS")


def sound(evidence: Evidence) -> Iterator[str]:
    for incident in evidence.history.of(Incident):
        yield incident.what
    for record in evidence.history.records:
        match record:
            case Wrote(code=code) | Got(code=code) | Listed(code=code) if code in _BUGS and record.outcome != "unknown":
                yield f"{record.client}: {code}: {record.message}"
            case Ended(by="server", code=code) if code in _BUGS:
                yield f"{record.session}: {code}: {record.message}"
    if not evidence.history.of(Final):
        yield "the history breaks off before everything came to rest"
