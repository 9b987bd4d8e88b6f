"""Workload files in scheduler_perf's format: a list of test cases, each a sequence of operations and its sizes."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.api import documents
from services.bench.scheduler import opcodes
from services.bench.scheduler.errors import FileError, NotSupported
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes import Operation
from services.bench.scheduler.params import Params

THROUGHPUT = "SchedulingThroughput"


@dataclass(frozen=True)
class Selector:
    """Which metric a threshold is for: its name, the labels it must have, which of its values, and whether less is
    better."""

    name: str = THROUGHPUT
    bucket: str = "Average"
    labels: tuple[tuple[str, str], ...] = ()
    expect_lower: bool = False


@dataclass(frozen=True)
class Workload:
    """One size of a test case. ``threshold`` 0: none. ``labels`` include the test case's."""

    case: TestCase
    name: str
    params: Mapping[str, Any]
    labels: frozenset[str]
    gates: Mapping[str, bool]
    threshold: float
    selector: Selector

    @property
    def full_name(self) -> str:
        return f"{self.case.name}/{self.name}"

    def operations(self) -> list[Operation]:
        """What to run, parameters looked up. Raises ``FileError`` (an unused parameter is one), ``NotSupported``."""
        if self.case.lacks:
            raise NotSupported(self.case.lacks)
        params = Params(self.params)
        try:
            made = [
                operation
                for template in self.case.operations
                for operation in template.resolved(params, self.case.default_pod_template)
            ]
            if unused := params.unused():
                raise FileError(f"parameters that nothing uses: {', '.join(unused)}")
            for operation in dict.fromkeys(map(_Once, made)):
                operation.of.check()
        except (FileError, NotSupported) as wrong:
            raise type(wrong)(f"{self.full_name}: {wrong}") from wrong
        return made


class _Once:
    """An operation by identity: mappings inside make it unhashable."""

    def __init__(self, of: Operation) -> None:
        self.of = of


@dataclass(frozen=True, eq=False)
class TestCase:
    """``lacks``: why it cannot be run at all, "" if it can. ``metrics``: the latency metrics to report and the labels
    to tell apart, empty for the default ones."""

    __test__ = False  # not a test, whatever pytest makes of its name

    name: str
    operations: Sequence[Operation]
    default_pod_template: pathlib.Path | None
    metrics: Mapping[str, tuple[str, ...]]
    lacks: str
    workloads: list[Workload]


def read(path: pathlib.Path) -> list[TestCase]:
    """Every test case of a file. Raises ``FileError`` naming the place."""
    try:
        found = [document for _, document in documents.load(path.read_text())]
    except OSError as failure:
        raise FileError(f"{path}: {failure.strerror}") from failure
    except documents.DocumentError as failure:
        raise FileError(f"{path}: {failure}") from failure
    if len(found) != 1 or not isinstance(found[0], list) or not found[0]:
        raise FileError(f"{path}: want a list of test cases")
    cases = [_case(Fields(raw, f"{path.name}[{index}]", path.parent)) for index, raw in enumerate(found[0])]
    _unique([case.name for case in cases], path.name)
    return cases


def _case(fields: Fields) -> TestCase:
    name = fields.where = fields.text("name") or fields.where
    gates, labels = fields.mapping("featureGates"), fields.texts("labels")
    default_selector = _selector(fields.nested("defaultThresholdMetricSelector")) or Selector()
    default_template = fields.path("defaultPodTemplatePath")
    metrics = _metrics(fields.nested("metricsCollectorConfig"))
    scheduler_config = fields.text("schedulerConfigPath")
    raw_operations, raw_workloads = fields.items("workloadTemplate"), fields.items("workloads")
    fields.done()
    if not raw_operations or not raw_workloads:
        raise FileError(f"{name}: wants a workloadTemplate and workloads")
    operations, lacks = _operations(raw_operations, fields)
    if scheduler_config and not lacks:
        lacks = f"{name}: schedulerConfigPath: kube-scheduler's configuration files are not read"
    if not lacks and not any(operation.measures for operation in operations):
        raise FileError(f"{name}: no operation collects metrics")
    case = TestCase(name, operations, default_template, metrics, lacks, [])
    for index, raw in enumerate(raw_workloads):
        nested = Fields(raw, f"{name}.workloads[{index}]", fields.base)
        case.workloads.append(_workload(case, nested, gates, labels, default_selector))
    _unique([workload.name for workload in case.workloads], name)
    return case


def _operations(raw: Sequence[Any], fields: Fields) -> tuple[list[Operation], str]:
    """The operations, and the first reason why they cannot be run."""
    made, lacks = [], ""
    for index, item in enumerate(raw):
        try:
            made.append(opcodes.read(Fields(item, f"{fields.where}.workloadTemplate[{index}]", fields.base)))
        except NotSupported as reason:
            lacks = lacks or str(reason)
    return made, lacks


def _workload(
    case: TestCase, fields: Fields, gates: Mapping[str, bool], labels: tuple[str, ...], selector: Selector
) -> Workload:
    threshold = fields.take("threshold")
    if isinstance(threshold, Mapping):
        # Thresholds by topic, a name that upstream's test binaries give themselves; there is no such name here.
        threshold = 0.0
    if not isinstance(threshold, int | float | None) or isinstance(threshold, bool) or (threshold or 0) < 0:
        raise FileError(f"{fields.where}.threshold: want a number that is not negative, got {threshold!r}")
    workload = Workload(
        case=case,
        name=fields.text("name"),
        params=fields.mapping("params"),
        labels=frozenset((*labels, *fields.texts("labels"))),
        gates={**gates, **fields.mapping("featureGates")},
        threshold=float(threshold or 0.0),
        selector=_selector(fields.nested("thresholdMetricSelector")) or selector,
    )
    fields.done()
    return workload


def _selector(fields: Fields | None) -> Selector | None:
    if fields is None:
        return None
    found = Selector(
        fields.text("name"),
        fields.text("dataBucket"),
        tuple(sorted(fields.labels("labels").items())),
        fields.flag("expectLower"),
    )
    fields.done()
    if not found.bucket:
        raise FileError(f"{fields.where}: wants a dataBucket")
    return found


def _metrics(fields: Fields | None) -> dict[str, tuple[str, ...]]:
    """Metric name → labels to tell apart; the values upstream lists are those that there can be."""
    if fields is None:
        return {}
    found = {}
    for name, raw in fields.mapping("metrics").items():
        entries = [Fields(item, f"{fields.where}.{name}", fields.base) for item in raw or ()]
        found[name] = tuple(entry.text("label") for entry in entries)
    fields.done()
    return found


def _unique(names: Sequence[str], where: str) -> None:
    for name in names:
        if not name or names.count(name) > 1:
            raise FileError(f"{where}: the name {name!r} is not unique" if name else f"{where}: a name is missing")
