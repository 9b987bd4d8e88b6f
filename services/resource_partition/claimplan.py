"""What one node's ledger makes of the claims and releases that wait for it: one transaction, and an answer to each.

Pure. Answers that no write stands for (refusals, claims that are there already) rest on what was read and are to be
confirmed, since it came from a cache: ``Answer.proof`` says how.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc

from services.api import keys, wire
from services.api.kinds import CAPACITY_CLAIMS, CAPACITY_LEDGERS
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimOutcome, ClaimRelease
from services.placement import ledger as rules
from services.placement.ledger import Ledger
from services.resource_partition.claimwire import PlainClaim
from services.resource_partition.ledgers import Begin, StoredLedger
from services.rpc import status
from services.rpc.status import StatusError
from services.storage.interface import Lane, Write

CLAIMS_PREFIX = keys.prefix(CAPACITY_CLAIMS)

# Of the values of one transaction; what is over it goes in the next one. etcd takes 1.5 MiB, and keys count thrice.
BYTES_MAX = 256 << 10

_CODES = {
    rules.NODE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    rules.NODE_CHANGED: grpc.StatusCode.ABORTED,
    rules.EPOCH_PASSED: grpc.StatusCode.ABORTED,
    rules.HELD_ELSEWHERE: grpc.StatusCode.ALREADY_EXISTS,
}


class Verdict(NamedTuple):
    """What is told of a claim: fields of ``ClaimOutcome``. ``refusal`` None: held or promised."""

    state: int
    node_name: str
    bind_epoch: int
    refusal: StatusError | None


class Proof(enum.Enum):
    """What an answer needs before it is given."""

    WRITTEN = "the transaction that holds it"
    AT_LEDGER = "the pod's claim as of the ledger's revision or later"
    LIVE = "the pod's claim read from the store"
    LEDGER = "the ledger alone"


class Known:
    """A pod's claim and the revision of its last write; ``claim`` None: the pod has none (since ``revision``).

    ``value``: the claim as it is stored, parsed when somebody looks.
    """

    __slots__ = ("_claim", "_value", "revision")

    def __init__(self, claim: CapacityClaim | None = None, revision: int = 0, *, value: bytes | None = None) -> None:
        self._claim = claim
        self._value = value
        self.revision = revision

    @property
    def there(self) -> bool:
        return self._claim is not None or self._value is not None

    @property
    def claim(self) -> CapacityClaim | None:
        if self._claim is None and self._value is not None:
            self._claim = CapacityClaim.FromString(self._value)
        return self._claim

    def agrees(self, other: Known) -> bool:
        """The same state of the pod's claim."""
        return self.revision == other.revision if self.there and other.there else self.there == other.there


class Answer(NamedTuple):
    """``given``: a claim's ``Verdict``; of a release None (the claim has ended) or the ``StatusError``.

    ``seen``: what was supposed of the pod's claim.
    """

    given: Any
    proof: Proof
    seen: Known


@dataclass(slots=True)
class Plan:
    """``writes``: the ledger's first; empty: nothing changes. ``taken``: how many items are in it."""

    after: Ledger | None
    answers: list[Answer] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    changed: dict[str, Known] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        return len(self.answers)


Lookup = Callable[[str], Known]
Item = PlainClaim | CapacityClaim | ClaimRelease


def pod_of(item: Item) -> str:
    """The UID of the pod that it is about."""
    return item.metadata.name if isinstance(item, CapacityClaim) else item.pod_uid


def claim_key(pod_uid: str) -> str:
    return CLAIMS_PREFIX + pod_uid


def plan(stored: StoredLedger, items: Sequence[Item], lookup: Lookup, begin: Begin, *, writes_max: int) -> Plan:
    """Decide on ``items`` in order, as many as one transaction holds (at least one). ``lookup``: claims as known."""
    if len(items) == 1 and isinstance(items[0], PlainClaim):
        found = _plan_one(stored, items[0], lookup(items[0].pod_uid), begin)
        if found is not None:
            return found
    return _Planner(stored, lookup, begin).run(items, writes_max)


def _plan_one(stored: StoredLedger, wanted: PlainClaim, known: Known, begin: Begin) -> Plan | None:
    """The plan of nearly every move where nodes are many: one claim, and it is held. None: it is another one."""
    template = wanted.template
    if known.there:
        again = _held_already(stored.ledger, wanted, known)
        return None if again is None else Plan(stored.ledger, [again])
    after = rules.hold(stored.ledger, wanted.node_uid, template.partition, template.amounts)
    own = stored.write(after, begin, Lane.SYSTEM) if after is not None else None
    if own is None:
        return None
    uid = wanted.pod_uid
    value = _recorded(wanted, begin)
    held = Answer(Verdict(_HELD, wanted.node_name, wanted.bind_epoch, None), Proof.WRITTEN, known)
    return Plan(after, [held], [own, Write(claim_key(uid), value, 0, Lane.SYSTEM)], {uid: Known(value=value)})


def _held_already(ledger: Ledger | None, wanted: PlainClaim, known: Known) -> Answer | None:
    """What a kubelet asks of every pod that its scheduler has claimed for: the same node, the same epoch.

    ``rules.claim`` gives this very answer: a recorded claim on the node that is wanted is granted as it is, nothing is
    stored where the epoch is the same, and it is held unless the ledger has a promise to the pod. So the proof is the
    same too: the ledger and the claim as of its revision. None: it is not as simple as that.
    """
    if ledger is None or ledger.promises or known.claim is None:
        return None
    spec = known.claim.spec
    if spec.node_name != wanted.node_name or spec.bind_epoch != wanted.bind_epoch:
        return None
    return Answer(Verdict(_HELD, wanted.node_name, wanted.bind_epoch, None), Proof.AT_LEDGER, known)


def _recorded(wanted: PlainClaim, begin: Begin) -> bytes:
    metadata = ObjectMeta(name=wanted.pod_uid)
    begin(metadata)
    return wanted.record(metadata.SerializeToString())


_HELD = int(ClaimOutcome.HELD)


class _Planner:
    __slots__ = ("_begin", "_lookup", "_plan", "_size_bytes", "_stored", "_values")

    def __init__(self, stored: StoredLedger, lookup: Lookup, begin: Begin) -> None:
        self._stored = stored
        self._lookup = lookup
        self._begin = begin
        self._plan = Plan(stored.ledger)
        self._values: dict[str, tuple[bytes | None, int]] = {}
        self._size_bytes = 0

    def run(self, items: Sequence[Item], writes_max: int) -> Plan:
        plan = self._plan
        for item in items:
            if plan.answers and (len(self._values) + 2 > writes_max or self._size_bytes > BYTES_MAX):
                break
            if isinstance(item, PlainClaim):
                answer = self._hold(item) or self._claim(item.message())
            elif isinstance(item, CapacityClaim):
                answer = self._claim(item)
            else:
                answer = self._release(item)
            plan.answers.append(answer)
        writes = [
            Write(claim_key(uid), value, revision, Lane.SYSTEM)
            for uid, (value, revision) in self._values.items()
            if value is not None or revision
        ]
        if writes or plan.after is not self._stored.ledger:
            # The ledger with every move, changed or not: a claim is never newer than the ledger of its node.
            own = self._stored.write(plan.after, self._begin, Lane.SYSTEM)
            plan.writes = writes if own is None else [own, *writes]
        return plan

    def _known(self, uid: str) -> Known:
        return self._plan.changed.get(uid) or self._lookup(uid)

    def _recorded(self, uid: str) -> CapacityClaim | None:
        return self._known(uid).claim

    def _hold(self, wanted: PlainClaim) -> Answer | None:
        """None: it is not as simple as that."""
        uid = wanted.pod_uid
        known = self._known(uid)
        if known.there:
            # What this plan itself has changed is proven by its write.
            return None if uid in self._plan.changed else _held_already(self._plan.after, wanted, known)
        template = wanted.template
        after = rules.hold(self._plan.after, wanted.node_uid, template.partition, template.amounts)
        if after is None:
            return None
        self._plan.after = after
        value = _recorded(wanted, self._begin)
        self._size_bytes += len(value)
        self._note(uid, value, known)
        held = Verdict(_HELD, wanted.node_name, wanted.bind_epoch, None)
        return Answer(held, Proof.WRITTEN, known)

    def _claim(self, wanted: CapacityClaim) -> Answer:
        uid = wanted.metadata.name
        known = self._known(uid)
        if self._unaccounted(known):
            return Answer(self._conflict(), Proof.LIVE, known)
        decision = rules.claim(
            self._plan.after, wanted, lambda pod_uid: known.claim if pod_uid == uid else self._recorded(pod_uid)
        )
        refusal: StatusError | None = None
        if decision.state is rules.State.REFUSED:
            refusal = _refusal(wanted, decision)
        else:
            self._plan.after = decision.ledger
        outcome = Verdict(decision.state.value, decision.node_name, decision.bind_epoch, refusal)
        if decision.record is not None:
            self._put(uid, decision.record, known)
            return Answer(outcome, Proof.WRITTEN, known)
        if uid in self._plan.changed:
            return Answer(outcome, Proof.WRITTEN, known)
        if decision.reason in (rules.HELD_ELSEWHERE, rules.EPOCH_PASSED):
            return Answer(outcome, Proof.LIVE, known)
        if decision.reason == rules.NODE_NOT_FOUND and self._stored.ledger is None:
            return Answer(outcome, Proof.LEDGER, known)
        return Answer(outcome, Proof.AT_LEDGER, known)

    def _release(self, wanted: ClaimRelease) -> Answer:
        uid = wanted.pod_uid
        known = self._known(uid)
        if known.claim is None:
            return Answer(None, Proof.WRITTEN if uid in self._plan.changed else Proof.LIVE, known)
        spec = known.claim.spec
        if spec.node_name != self._stored.name or self._unaccounted(known):
            return Answer(self._conflict(), Proof.LIVE, known)
        if not rules.ends(known.claim, wanted):
            stays = StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "ClaimStays",
                f"the claim on node {spec.node_name} with bind epoch {spec.bind_epoch} does not end by that fact",
                metadata={"nodeName": spec.node_name, "bindEpoch": str(spec.bind_epoch)},
            )
            return Answer(stays, Proof.WRITTEN if uid in self._plan.changed else Proof.LIVE, known)
        assert self._plan.after is not None, "a ledger with a claim is not obsolete"
        self._plan.after = rules.release(self._plan.after, known.claim)
        self._note(uid, None, known)
        return Answer(None, Proof.WRITTEN, known)

    def _unaccounted(self, known: Known) -> bool:
        """A claim of this node without a ledger: one of the two is not what the store holds. Nothing is done to it."""
        return self._plan.after is None and known.claim is not None and known.claim.spec.node_name == self._stored.name

    def _conflict(self) -> StatusError:
        why = "the claim and its ledger changed meanwhile; try again"
        return status.conflict(CAPACITY_LEDGERS.resource, self._stored.name, why)

    def _put(self, uid: str, record: CapacityClaim, known: Known) -> None:
        if known.claim is not None:
            record.metadata.CopyFrom(known.claim.metadata)
            record.metadata.generation += 1
        else:
            self._begin(record.metadata)
        value = wire.canonical(record)
        self._size_bytes += len(value)
        self._note(uid, value, known)

    def _note(self, uid: str, value: bytes | None, known: Known) -> None:
        expected = known.revision if known.there else 0
        if uid in self._values:
            expected = self._values[uid][1]  # what the store holds, whatever this plan made of it before
        self._plan.changed[uid] = Known(revision=expected, value=value)
        self._values[uid] = value, expected


def _refusal(wanted: CapacityClaim, decision: rules.Decision) -> StatusError:
    return StatusError(
        _CODES.get(decision.reason, grpc.StatusCode.FAILED_PRECONDITION),
        decision.reason,
        decision.message,
        metadata={
            "podUID": wanted.metadata.name,
            "nodeName": decision.node_name,
            "bindEpoch": str(decision.bind_epoch),
        },
    )
