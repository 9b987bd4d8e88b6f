"""The status object: what is down is said, what is unknown is not called empty."""

from __future__ import annotations

from services.cli.context import Context, Partition
from services.cli.onebox.health import Health, NodeCount
from services.cli.onebox.state import ComponentState, SupervisorState
from services.cli.onebox.status import assemble

CONTEXT = Context(
    (Partition("tp-1", "tenant", "h:1", etcd="h:2"), Partition("rp-1", "resource", "h:3", etcd="h:4")), "rp-1"
)
HEALTHY = Health(nodes={"rp-1": NodeCount(3, 3)}, pods={"acme": {"Running": 2}})


def state(**broken: ComponentState) -> SupervisorState:
    names = {"tp_1": "tp-1", "rp_1": "rp-1", "etcd_tp_1": "etcd-tp-1"}
    made = [
        broken.get(key) or ComponentState(name, "x", name, phase="running", ready=True, pid=7)
        for key, name in names.items()
    ]
    return SupervisorState(1, 1, tuple(made))


def test_a_healthy_cluster() -> None:
    found = assemble(CONTEXT, state(), HEALTHY)
    assert found.ready and found.running
    assert found.document["nodes"] == {"rp-1": {"total": 3, "ready": 3}}
    assert found.document["pods"] == {"acme": {"Running": 2}}
    assert found.document["partitions"][0] | {"metrics": ""} == {
        "name": "tp-1",
        "kind": "tenant",
        "endpoint": "h:1",
        "etcd": "h:2",
        "metrics": "",
        "ready": True,
    }


def test_a_crashed_component_makes_its_partition_not_ready_and_says_why() -> None:
    crashed = ComponentState("etcd-tp-1", "etcd", "tp-1", phase="backoff", restarts=2, detail="ended (signal SIGKILL)")
    found = assemble(CONTEXT, state(etcd_tp_1=crashed), HEALTHY)
    assert not found.ready and found.running
    tenant, resource = found.document["partitions"]
    assert not tenant["ready"] and "SIGKILL" in tenant["reason"] and resource["ready"]
    component = found.document["components"][2]
    assert (component["pid"], component["ready"], component["restarts"]) == (None, False, 2)


def test_nodes_of_a_partition_that_does_not_answer_are_unknown_not_gone() -> None:
    seen = Health(nodes={"rp-1": NodeCount(None, 0)}, unreachable={"rp-1": "connection refused"})
    found = assemble(CONTEXT, state(), seen)
    assert found.document["nodes"] == {"rp-1": {"total": None, "ready": 0}}
    assert found.document["partitions"][1]["reason"] == "connection refused"


def test_after_down_nothing_is_ready_and_the_components_are_still_named() -> None:
    unreachable = {partition.name: "connection refused" for partition in CONTEXT.partitions}
    found = assemble(CONTEXT, None, Health(unreachable=unreachable), last=state())
    assert not found.running and not found.ready
    assert [(one["name"], one["pid"], one["ready"]) for one in found.document["components"]] == [
        ("tp-1", None, False),
        ("rp-1", None, False),
        ("etcd-tp-1", None, False),
    ]


def test_a_cluster_without_a_supervisor_is_running_when_it_answers() -> None:
    found = assemble(CONTEXT, None, HEALTHY)
    assert found.running and found.ready and found.document["components"] == []
