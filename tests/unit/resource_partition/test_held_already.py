"""Claims that are held already, as kubelets ask for them: the short way answers as the long one, and reads little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import BatchClaimRequest, CapacityClaim
from services.resource_partition.claimplan import Plan, Verdict, plan
from services.resource_partition.claimrequests import ClaimReader
from services.resource_partition.ledgers import StoredLedger
from services.rpc.status import StatusError
from services.storage.interface import Record
from services.storage.memory import MemoryBackend
from tests.unit.resource_partition.world import World, claim, node, release


class Reads:
    """What the desks ask of the store, counted."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self.calls: list[Sequence[str]] = []

    async def read(self, keys: Sequence[str]) -> Sequence[Record | None]:
        self.calls.append(keys)
        return await self._backend.read(keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


async def test_claims_of_many_nodes_are_proven_by_one_read(world: World) -> None:
    for number in range(30):
        await world.server.put_node(node(f"n{number}"))
    wanted = [claim(f"p{number}", f"n{number}", epoch=1) for number in range(30)]
    assert set(await world.server.verdicts(*wanted)) == {"HELD"}
    reads = Reads(world.backend)
    world.server.desks._transactor = reads
    revision = world.backend.revision
    assert set(await world.server.verdicts(*wanted)) == {"HELD"}
    assert [len(keys) for keys in reads.calls] == [30]
    assert world.backend.revision == revision, "nothing is written"


async def test_an_unreachable_store_leaves_all_of_them_unanswered_and_then_they_are_proven_anew(world: World) -> None:
    for name in ("n", "m"):
        await world.server.put_node(node(name))
    wanted = [claim("p", "n"), claim("q", "m")]
    await world.server.claim(*wanted)
    world.backend.available = False
    assert [outcome.state for outcome in await world.server.claim(*wanted)] == [0, 0]
    world.backend.available = True
    assert await world.server.verdicts(*wanted) == ["HELD", "HELD"]


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with-another"])
@pytest.mark.parametrize(
    "wanted",
    [
        claim("held", epoch=2),
        claim("held", epoch=3),
        claim("held", epoch=1),
        claim("held", "m", epoch=2),
        claim("held", epoch=2, partition="tp-2", cpu=1),
        claim("held", epoch=2, node_uid="another"),
        claim("promised", epoch=1),
        claim("new"),
    ],
    ids=["same", "newer", "older", "elsewhere", "changed", "other-node-uid", "promised", "new"],
)
@pytest.mark.parametrize("ledger", ["with-promise", "plain", "none"])
async def test_the_short_way_answers_as_the_long_one(
    world: World, wanted: CapacityClaim, ledger: str, alone: bool
) -> None:
    await world.server.put_node(node("n", cpu="3"))
    await world.server.put_node(node("m"))
    await world.server.claim(claim("held", epoch=2), claim("victim", cpu=2000))
    if ledger == "with-promise":
        assert await world.server.verdicts(claim("promised", epoch=1, cpu=2000, replaces=("victim",))) == ["PROMISED"]
    elif ledger == "plain":
        await world.server.release(release("victim"))
    name = wanted.spec.node_name
    stored = StoredLedger(name)
    if ledger != "none":
        stored = StoredLedger.of(name, world.ledger_store.peek(stored.key))
    (plain,) = ClaimReader().read(BatchClaimRequest(claims=[wanted]).SerializeToString())
    assert type(plain) is not CapacityClaim
    others = [] if alone else [claim("another", name, cpu=1)]
    short = plan(stored, [plain, *others], world.server.desks.lookup, world.server.makers.begin, writes_max=100)
    long = plan(stored, [wanted, *others], world.server.desks.lookup, world.server.makers.begin, writes_max=100)
    assert _told(short) == _told(long)
    assert [write.key for write in short.writes] == [write.key for write in long.writes]
    assert short.after == long.after


def _told(made: Plan) -> list[object]:
    return [(_shown(given), proof, seen.revision) for given, proof, seen in made.answers]


def _shown(given: object) -> object:
    if isinstance(given, Verdict):
        return given.state, given.node_name, given.bind_epoch, given.refusal and given.refusal.reason
    assert isinstance(given, StatusError)
    return given.reason
