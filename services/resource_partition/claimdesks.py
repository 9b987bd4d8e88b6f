"""A desk for each node: what is asked of its ledger waits there, and is decided and stored in order.

One server never races itself for a ledger: a desk has one transaction under way, and what arrives meanwhile makes the
next one. Desks that have work at the same time share one call to the store, which puts them into few etcd transactions.
Other servers do race: whoever comes second is told what the ledger holds now, and decides anew on that.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence

from services.resource_partition import claimmetrics as metrics
from services.resource_partition.claimplan import Answer, Item, Known, Plan, Proof, claim_key, plan, pod_of
from services.resource_partition.claimslips import Slip
from services.resource_partition.ledgers import LEDGERS_PREFIX, Begin, StoredLedger
from services.rpc import status
from services.storage.errors import (
    KeyExists,
    KeyNotFound,
    PreconditionFailed,
    QueueFull,
    StorageError,
    TooLarge,
    TooManyWrites,
)
from services.storage.interface import Record, ResourceStore, Transactor

# Lost races after which an item is answered as contended; each means that another server's move succeeded.
ATTEMPTS = 64
ITEMS_MAX = 100_000
# Ledgers of idle nodes and own claims that are remembered, so as not to wait for the cache or to parse again.
DESKS_MAX = 20_000
CLAIMS_MAX = 20_000

# Turns of the event loop are given to others after so many items.
_ITEMS_PER_TURN = 64


class Desk:
    """``busy``: somebody works on it. ``stored``: the ledger as it was last seen."""

    __slots__ = ("busy", "queue", "stored")

    def __init__(self, name: str) -> None:
        self.stored = StoredLedger(name)
        self.queue: deque[Slip] = deque()
        self.busy = False


_NO_PLAN = Plan(None)


class Move:
    """What a desk is about to do."""

    __slots__ = ("attempts", "desk", "items_max", "plan", "slips")

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.attempts = 0
        self.items_max = ITEMS_MAX
        self.slips: list[Slip] = []
        self.plan = _NO_PLAN


class ClaimDesks:
    """Run it; what is put on a desk before waits for that. ``begin``: see ``ledgers.Begin``."""

    def __init__(self, claims: ResourceStore, ledgers: ResourceStore, transactor: Transactor, begin: Begin) -> None:
        self._claims = claims
        self._ledgers = ledgers
        self._transactor = transactor
        self._begin = begin
        self._desks: dict[str, Desk] = {}
        self._own: dict[str, Known] = {}  # by pod UID: claims that the cache may not show yet
        self._waiting: list[Desk] = []
        self._filled = asyncio.Event()
        self._under_way = 0

    # -- the counter

    def check_room(self, count: int) -> None:
        """Raises ``QueueFull``."""
        if self._under_way + count > ITEMS_MAX:
            raise QueueFull("the queue of capacity claims")

    def put(self, node: str, slip: Slip) -> None:
        """Lay an item on a node's desk."""
        desk = self._desks.get(node)
        if desk is None:
            desk = self._desks[node] = Desk(node)
        desk.queue.append(slip)
        self._under_way += 1
        if not desk.busy:
            desk.busy = True
            self._waiting.append(desk)
            self._filled.set()

    def lookup(self, pod_uid: str) -> Known:
        """The pod's claim as it is known here, at any age."""
        own = self._own.get(pod_uid)
        record = self._claims.peek(claim_key(pod_uid))
        if own is not None:
            if record.revision < own.revision if record is not None else own.there:
                return own
            del self._own[pod_uid]
        return _known(record)

    async def read(self, pod_uid: str, revision: int | None = None) -> Known:
        """The pod's claim, not older than ``revision`` (None: the most recent). Raises ``StorageError``."""
        key = claim_key(pod_uid)
        record = await self._get(key, revision)
        own = self._own.get(pod_uid)
        if revision is not None and own is not None:
            # A cache may be new enough for the ledger and yet older than what is known of this claim.
            agreed = record is None and not own.there
            if not agreed and (record.revision if record is not None else 0) < own.revision:
                record = await self._get(key)
        return self._remember(key, record)

    async def _get(self, key: str, revision: int | None = None) -> Record | None:
        try:
            return await self._claims.get(key, revision)
        except KeyNotFound:
            return None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._filled.wait()
                self._filled.clear()
                desks, self._waiting = self._waiting, []
                self._tidy()
                if desks:
                    tasks.create_task(self._work(desks), name="capacity-claims")
                metrics.QUEUED.set(self._under_way)

    def knows(self, node: str) -> bool:
        """Something was laid on its desk lately."""
        return node in self._desks

    # -- the work

    async def _work(self, desks: Sequence[Desk]) -> None:
        """One move of each desk. A desk is free for the next one as soon as its own is through."""
        for desk in desks:
            self._look_up_ledger(desk)
        moves = [Move(desk) for desk in desks]
        while moves:
            moves = await self._round(moves)

    async def _round(self, moves: Sequence[Move]) -> list[Move]:
        """Plan, store and answer; the moves that have to be made again."""
        planned = 0
        writing: list[Move] = []
        silent: list[Move] = []
        for move in moves:
            if not move.slips:
                self._take(move)
            if any(slip.replaces for slip in move.slips) and not await self._learn_victims(move):
                continue
            self._plan(move)
            (writing if move.plan.writes else silent).append(move)
            planned += len(move.slips)
            if planned >= _ITEMS_PER_TURN:
                planned = 0
                await asyncio.sleep(0)
        if not silent:
            return await self._store(writing)
        again, unproven = await asyncio.gather(self._store(writing), self._prove_ledgers(silent))
        return again + unproven

    def _take(self, move: Move) -> None:
        queue = move.desk.queue
        count = min(len(queue), self._transactor.transaction_writes_max)
        move.slips = [queue.popleft() for _ in range(count)]

    def _plan(self, move: Move) -> None:
        desk = move.desk
        items = [slip.item for slip in move.slips[: move.items_max]]
        move.plan = plan(
            desk.stored, items, self.lookup, self._begin, writes_max=self._transactor.transaction_writes_max
        )
        left = move.slips[move.plan.taken :]
        if left:
            desk.queue.extendleft(reversed(left))
            move.slips = move.slips[: move.plan.taken]

    async def _store(self, moves: Sequence[Move]) -> list[Move]:
        if not moves:
            return []
        try:
            outcomes = await self._transactor.transact_batch([move.plan.writes for move in moves])
        except StorageError as failure:
            outcomes = [failure] * len(moves)
        again: list[Move] = []
        stored: list[Move] = []
        lost = 0
        for move, outcome in zip(moves, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                stored.append(move)
                self._note(move, outcome)
            elif self._learn(move, outcome):
                lost += 1
                again.append(move)
            else:
                self._fail(move, outcome)
        metrics.ITEMS.inc(sum([len(move.slips) for move in stored]))
        metrics.MOVES.labels("stored").inc(len(stored))
        metrics.MOVES.labels("lost_race").inc(lost)
        metrics.MOVES.labels("failed").inc(len(moves) - len(stored) - lost)
        again += [move for move in stored if not (self._answer_written(move) or await self._answer(move))]
        return again

    def _note(self, move: Move, records: Sequence[Record | None]) -> None:
        """What was stored is known before the cache shows it."""
        made, desk = move.plan, move.desk
        before = desk.stored
        first = records[0] or next((record for record in records if record is not None), None)
        revision = first.revision if first is not None else before.revision
        if made.writes[0].key == before.key:
            desk.stored = before.written(made.after, records[0])
        for uid, known in made.changed.items():
            known.revision = revision
            self._own[uid] = known

    def _learn(self, move: Move, failure: Exception) -> bool:
        """Can the move be made again, now that it is known why it failed?"""
        move.attempts += 1
        if move.attempts >= ATTEMPTS:
            return False
        if isinstance(failure, KeyExists | PreconditionFailed | KeyNotFound):
            held = None if isinstance(failure, KeyNotFound) else failure.record
            if failure.key == move.desk.stored.key:
                move.desk.stored = StoredLedger.of(move.desk.stored.name, held)
            else:
                self._remember(failure.key, held)
            return True
        if isinstance(failure, TooManyWrites) and len(move.slips) > 1:
            return True  # planned again within the limit that was learned
        if isinstance(failure, TooLarge) and len(move.slips) > 1:
            move.items_max = len(move.slips) // 2
            return True
        return False

    # -- answers

    async def _prove_ledgers(self, moves: Sequence[Move]) -> list[Move]:
        """Nothing is to be written: is each ledger what it was taken for? Then the items are answered.

        One read for all the ledgers: it begins after every plan was made, and shows each as it was at some moment
        since, which is all that the proof of a single one needs. Returns the moves that have to be made again.
        """
        try:
            records = await self._transactor.read([move.desk.stored.key for move in moves])
        except StorageError as failure:
            for move in moves:
                self._fail(move, failure)
            return []
        again: list[Move] = []
        proven: list[Move] = []
        for move, record in zip(moves, records, strict=True):
            desk = move.desk
            if (record.revision if record is not None else 0) == desk.stored.revision:
                proven.append(move)
                continue
            desk.stored = StoredLedger.of(desk.stored.name, record)
            move.attempts += 1
            if move.attempts < ATTEMPTS:
                again.append(move)
            else:
                self._fail(move, _contended(desk))
        answered = await asyncio.gather(*(self._answer(move) for move in proven))
        return again + [move for move, done in zip(proven, answered, strict=True) if not done]

    def _answer_written(self, move: Move) -> bool:
        """As ``_answer``, for a move whose answers its transaction has proven; False: it is another one."""
        answers = move.plan.answers
        if any(answer.proof is not Proof.WRITTEN for answer in answers):
            return False
        for slip, answer in zip(move.slips, answers, strict=True):
            self._settle(slip, answer.given)
        self._free(move.desk)
        return True

    async def _answer(self, move: Move) -> bool:
        """Answer every item that is proven, and be done with the desk. False: those that are left are planned again."""
        left: list[Slip] = []
        # The ledger that the plan was made on; the one that was stored is newer, and may be ahead of the cache.
        revision = max((write.expected_revision or 0 for write in move.plan.writes[:1]), default=0)
        if not move.plan.writes:
            revision = move.desk.stored.revision
        for slip, answer in zip(move.slips, move.plan.answers, strict=True):
            if answer.proof is Proof.WRITTEN or answer.proof is Proof.LEDGER:
                self._settle(slip, answer.given)
                continue
            try:
                proven = await self._is_proven(slip.item, answer, revision)
            except StorageError as failure:
                self._settle(slip, failure)
                continue
            if proven:
                self._settle(slip, answer.given)
            else:
                left.append(slip)
        move.slips = left
        if left:
            move.attempts += 1
            if move.attempts < ATTEMPTS:
                return False
            self._fail(move, _contended(move.desk))
            return True
        self._free(move.desk)
        return True

    async def _is_proven(self, item: Item, answer: Answer, revision: int) -> bool:
        found = await self.read(pod_of(item), None if answer.proof is Proof.LIVE else revision)
        return found.agrees(answer.seen)

    def _fail(self, move: Move, failure: Exception) -> None:
        if isinstance(failure, KeyExists | PreconditionFailed | KeyNotFound):
            failure = _contended(move.desk)
        # What the ledger holds now is anybody's guess: begin with a look.
        move.desk.stored = StoredLedger(move.desk.stored.name)
        for slip in move.slips:
            self._settle(slip, failure)
        self._free(move.desk)

    def _settle(self, slip: Slip, answer: object) -> None:
        self._under_way -= 1
        slip.settle(answer)

    def _free(self, desk: Desk) -> None:
        if desk.queue:
            self._waiting.append(desk)
            self._filled.set()
        else:
            desk.busy = False

    # -- what is known

    def _look_up_ledger(self, desk: Desk) -> None:
        record = self._ledgers.peek(LEDGERS_PREFIX + desk.stored.name)
        if record is not None and record.revision > desk.stored.revision:
            desk.stored = StoredLedger.of(desk.stored.name, record)

    async def _learn_victims(self, move: Move) -> bool:
        """A promise is made on claims that the ledger counts: they are read as of its revision or later. False: they
        cannot be, and the items are answered so."""
        try:
            for slip in move.slips:
                for uid in slip.replaces:
                    await self.read(uid, move.desk.stored.revision)
        except StorageError as failure:
            self._fail(move, failure)
            return False
        return True

    def _remember(self, key: str, record: Record | None) -> Known:
        found = _known(record)
        uid = key.rpartition("/")[2]
        shown = self._claims.peek(key)
        if (shown.revision if shown is not None else 0) != found.revision:
            # Gone, though the cache still shows it: so at least until the cache shows something newer.
            if record is None and shown is not None:
                found = Known(None, shown.revision + 1)
            self._own[uid] = found
        else:
            self._own.pop(uid, None)
        return _known(record)

    def _tidy(self) -> None:
        if len(self._own) > CLAIMS_MAX:
            for uid in list(itertools.islice(self._own, CLAIMS_MAX // 2)):  # the eldest
                del self._own[uid]
        if len(self._desks) > DESKS_MAX:
            idle = [name for name, desk in self._desks.items() if not desk.busy]
            for name in idle[: len(self._desks) - DESKS_MAX // 2]:
                del self._desks[name]


def _known(record: Record | None) -> Known:
    return Known(revision=record.revision, value=record.value) if record is not None else Known()


def _contended(desk: Desk) -> Exception:
    return status.conflict(
        "capacityledgers", desk.stored.name, f"{ATTEMPTS} other moves in a row were faster; try again"
    )
