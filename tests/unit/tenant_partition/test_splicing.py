"""A spliced bind gives the very bytes that parsing, changing and encoding the pod gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.api import wire
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Binding, Pod
from services.rpc.status import StatusError
from services.tenant_partition.binding import bound
from services.tenant_partition.splicing import spliced
from tests.unit.api.arbitrary import messages
from tests.unit.api.pods import pod

NOW_S = 1_700_000_000
REVISION = 7


def _binding(old: Any, node: str, partition: str, *, epoch: int, claimed: bool, uid: str) -> Binding:
    binding = Binding(resource_partition=partition, bind_epoch=epoch, capacity_claimed=claimed)
    binding.metadata.name, binding.metadata.uid, binding.target.name = old.metadata.name, uid, node
    return binding


def _parsed(binding: Binding, value: bytes) -> bytes | None:
    """None: refused, or bound there already."""
    old = Pod.FromString(value)
    try:
        new = bound(binding, old, REVISION, NOW_S)
    except StatusError:
        return None
    return None if new is old else wire.canonical(new)


@st.composite
def _pods(draw: st.DrawFn) -> Any:
    """Any pod, and often one that can be bound."""
    found = draw(messages(PODS))
    found.metadata.uid = found.metadata.uid or "uid"
    if draw(st.booleans()):
        for field in ("node_name", "resource_partition", "capacity_claimed", "scheduling_gates"):
            found.spec.ClearField(field)
        found.spec.restart_policy, found.status.phase = "Always", "Pending"
        found.metadata.ClearField("deletion_timestamp")
    return found


@given(
    _pods(),
    st.text(min_size=1, max_size=200),
    st.text(min_size=1, max_size=9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_splice_is_what_parsing_gives(
    old: Any, node: str, partition: str, claimed: bool, same_epoch: bool, same_uid: bool
) -> None:
    value = wire.canonical(old)
    epoch = old.spec.bind_epoch if same_epoch else old.spec.bind_epoch - 1
    uid = old.metadata.uid if same_uid else "another"
    binding = _binding(old, node, partition, epoch=epoch, claimed=claimed, uid=uid)
    found = spliced(binding, value, NOW_S)
    if found is not None:
        assert found == (_parsed(binding, value), old.metadata.uid)


def _spliced(old: Any, **changed: Any) -> tuple[bytes, str] | None:
    given_ = {"epoch": 0, "claimed": True, "uid": "", **changed}
    return spliced(_binding(old, "node-1", "rp-1", **given_), wire.canonical(old), NOW_S)


def _fresh() -> Any:
    old = pod(tolerations=[{"key": "a", "operator": "Exists"}], schedulerName="mine")
    old.metadata.uid = "uid-1"
    return old


def test_a_fresh_pod_is_spliced() -> None:
    old = _fresh()
    found = _spliced(old)
    assert found is not None
    new = Pod.FromString(found[0])
    assert (new.spec.node_name, new.spec.resource_partition, new.spec.capacity_claimed) == ("node-1", "rp-1", True)
    assert found == (
        _parsed(_binding(old, "node-1", "rp-1", epoch=0, claimed=True, uid=""), wire.canonical(old)),
        "uid-1",
    )


def test_a_condition_of_before_is_changed_in_its_place() -> None:
    old = _fresh()
    old.status.conditions.add(type="PodScheduled", status="False", reason="Unschedulable", message="no room")
    old.status.conditions.add(type="Other", status="True")
    found = _spliced(old)
    assert found is not None
    scheduled, other = Pod.FromString(found[0]).status.conditions
    assert (scheduled.status, scheduled.reason, scheduled.message, other.type) == ("True", "", "", "Other")


def test_what_may_not_be_bound_is_not_spliced() -> None:
    def refused(change: Any, **changed: Any) -> bool:
        old = _fresh()
        change(old)
        return _spliced(old, **changed) is None

    assert refused(lambda old: old.metadata.deletion_timestamp.FromSeconds(NOW_S))
    assert refused(lambda old: old.spec.scheduling_gates.add(name="gate"))
    assert refused(lambda old: setattr(old.spec, "node_name", "node-1"))
    assert refused(lambda old: setattr(old.status, "phase", "Succeeded"))
    assert refused(lambda old: setattr(old.spec, "bind_epoch", 3))
    assert refused(lambda old: None, epoch=1)
    assert refused(lambda old: None, uid="another")


def test_bytes_that_are_cut_off_are_not_spliced() -> None:
    old = _fresh()
    value = wire.canonical(old)
    binding = _binding(old, "node-1", "rp-1", epoch=0, claimed=True, uid="")
    assert all(spliced(binding, value[:size], NOW_S) is None for size in range(len(value)))
