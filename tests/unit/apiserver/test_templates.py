"""What is prepared by a template has the very bytes that it gets one by one."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api import manifests, wire
from services.api.kinds import NAMESPACES, PODS, PRIORITY_CLASSES
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import BatchPodsRequest, CreatePodRequest
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.api.pb.ursa.scheduling.v1.priority_class_pb2 import PriorityClass
from services.apiserver.admission import Admission
from services.apiserver.lifecycle import NamespaceLifecycle
from services.apiserver.pods import PodPlacement, PodPriority
from services.apiserver.resource import Resource
from services.apiserver.templates import Draft, Templates, split
from services.apiserver.writes import Makers, Writes
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.rpc import status
from services.storage.interface import ResourceStore, Write
from services.storage.memory import MemoryBackend
from tests.unit.api.arbitrary import messages
from tests.unit.api.pods import pod_document

TENANT, NAMESPACE = "acme", "default"


class Gate:
    async def require(self, tenant: str) -> None:
        if tenant != TENANT:
            raise status.not_found("tenants", tenant)


class WholeOnly(Admission):
    """Admits in one step: no templates then."""

    async def admit(self, kind: Any, obj: Any) -> None:
        return None


class Side:
    """A server's writes of pods over a store in memory. ``templated`` False: each pod is prepared on its own."""

    def __init__(self, *, templated: bool) -> None:
        backend = MemoryBackend(clock=FakeClock())
        self.stores: dict[str, ResourceStore] = {
            kind.resource: backend.store(f"/ursa/{kind.resource}/", kind.attributes)
            for kind in (PODS, NAMESPACES, PRIORITY_CLASSES)
        }
        plugins: tuple[Admission, ...] = (
            NamespaceLifecycle(self.stores["namespaces"], {}),
            PodPriority(self.stores["priorityclasses"]),
            PodPlacement(),
        )
        uids = iter(f"uid-{number}" for number in range(1_000_000))
        makers = Makers(FakeClock(), Rand(1), lambda: next(uids))
        self.writes = Writes(
            Resource(PODS, self.stores["pods"]),
            Gate(),
            plugins if templated else (*plugins, WholeOnly()),
            makers,
        )

    async def put(self, obj: Any, key: str) -> None:
        store = self.stores[key.split("/")[2]]
        held = store.peek(key)
        await store.write(Write(key, obj.SerializeToString(), held.revision if held else 0))

    async def begin(self) -> None:
        namespace = NAMESPACES.message()
        await self.put(namespace, f"/ursa/namespaces/{TENANT}/{NAMESPACE}")

    async def create(self, *pods: Any) -> list[tuple[str, bytes, bytes]]:
        """Name, refusal and stored bytes of each."""
        answer = await self.writes.batch_create(BatchPodsRequest(objects=pods).SerializeToString(), None)  # type: ignore[arg-type]
        found = []
        for outcome in BatchResponse.FromString(answer).outcomes:
            record = self.stores["pods"].peek(f"/ursa/pods/{TENANT}/{NAMESPACE}/{outcome.name}")
            stored = record.value if record is not None and not outcome.HasField("status") else b""
            found.append((outcome.name, outcome.status.SerializeToString(), stored))
        return found


def _pod(**spec: Any) -> Pod:
    message: Any = manifests.parse_json(PODS, pod_document(**spec))
    return message  # type: ignore[no-any-return]


@st.composite
def _pods(draw: st.DrawFn) -> list[Any]:
    """Any pods, valid ones among them, some of one template."""
    valid = st.builds(_pod, schedulerName=st.sampled_from(["", "a", "b"]), hostNetwork=st.booleans())
    found = []
    for number, base in enumerate(draw(st.lists(st.one_of(messages(PODS), valid, valid), min_size=1, max_size=4))):
        for copy in range(draw(st.integers(1, 3))):
            made = Pod()
            made.CopyFrom(base)
            if draw(st.integers(0, 3)):
                made.metadata.Clear()
                made.metadata.labels["app"] = "web"
                made.metadata.deletion_grace_period_seconds = -1
                made.metadata.generation = -3
            made.metadata.tenant, made.metadata.namespace = TENANT, NAMESPACE
            made.metadata.name = "" if not draw(st.integers(0, 5)) else f"pod-{number}-{copy % 2}"
            made.metadata.generate_name = draw(st.sampled_from(["", "", "pod-", "Pod"]))
            made.api_version = draw(st.sampled_from(["", "", "v1", "v2"]))
            found.append(made)
    return found


def _told(outcomes: list[tuple[str, bytes, bytes]]) -> list[tuple[str, bytes, bytes]]:
    """A refusal lists what is wrong with labels in the order of a map: any."""
    return [(name, bytes(sorted(refusal)), stored) for name, refusal, stored in outcomes]


@settings(max_examples=60)
@given(_pods(), st.booleans())
def test_both_ways_give_the_same(pods: list[Any], classes: bool) -> None:
    async def run() -> None:
        fast, slow = Side(templated=True), Side(templated=False)
        for side in (fast, slow):
            await side.begin()
            if classes:
                found = PriorityClass(value=7, global_default=True)
                found.metadata.name = "seven"
                await side.put(found, f"/ursa/priorityclasses/{TENANT}/seven")
        assert _told(await fast.create(*pods)) == _told(await slow.create(*pods))
        # Once more: what is known of the templates is used, and other names are free.
        for number, each in enumerate(pods):
            each.metadata.name = f"again-{number}"
        assert _told(await fast.create(*pods)) == _told(await slow.create(*pods))

    asyncio.run(run())


def test_pods_of_a_template_follow_a_changed_priority_class() -> None:
    async def run() -> list[int]:
        side = Side(templated=True)
        await side.begin()
        priorities = []
        for number in range(3):
            found = PriorityClass(value=number, global_default=number > 0)
            found.metadata.name = "default"
            await side.put(found, f"/ursa/priorityclasses/{TENANT}/default")
            each = _pod()
            each.metadata.name = f"pod-{number}"
            [(_, refusal, stored)] = await side.create(each)
            assert not refusal
            priorities.append(Pod.FromString(stored).spec.priority)
        return priorities

    assert asyncio.run(run()) == [0, 1, 2]


def test_a_terminating_namespace_takes_no_pod_of_a_known_template() -> None:
    async def run() -> tuple[bytes, bytes]:
        side = Side(templated=True)
        await side.begin()
        each = _pod()
        [(_, before, _)] = await side.create(each)
        namespace: Any = NAMESPACES.message()
        namespace.metadata.deletion_timestamp.seconds = 1
        await side.put(namespace, f"/ursa/namespaces/{TENANT}/{NAMESPACE}")
        each.metadata.name = "other"
        [(_, after, _)] = await side.create(each)
        return before, after

    before, after = asyncio.run(run())
    assert not before
    assert b"NamespaceTerminating" in after


def _templates() -> Templates:
    return Templates(PODS, Gate(), ())


def _single(request: Message) -> Draft | None:
    return _templates().single(request.SerializeToString())


def test_a_plain_create_is_of_a_template() -> None:
    draft = _single(CreatePodRequest(object=_pod()))
    assert draft is not None
    assert draft.obj.metadata == _pod().metadata
    assert not draft.obj.HasField("spec")
    draft.make_whole()
    assert draft.obj == _pod()


def test_what_is_not_plain_is_parsed_as_a_whole() -> None:
    whole = CreatePodRequest(object=_pod()).SerializeToString()
    metadata, rest = (split(whole) or [(b"", b"")])[0]
    unknown = b"\x9a\x3f\x01x"  # field 1011

    templates = _templates()
    assert templates.single(wire.frame(1, metadata + rest)) is not None
    assert templates.single(wire.frame(1, metadata + rest + unknown)) is None
    assert templates.single(wire.frame(1, metadata + rest + metadata)) is None
    assert templates.single(wire.frame(1, rest + metadata)) is None
    assert templates.single(whole + b"\x10\x01") is None  # dry_run
    assert templates.single(whole + whole) is None
    assert templates.batch(b"") is None
    with_unknown = _pod()
    with_unknown.metadata.MergeFromString(unknown)
    assert _single(CreatePodRequest(object=with_unknown)) is None
    assert all(templates.single(whole[:size]) is None for size in range(len(whole)))


def test_an_admission_in_one_step_has_no_templates() -> None:
    assert Side(templated=True).writes._creates.templates is not None
    assert Side(templated=False).writes._creates.templates is None
