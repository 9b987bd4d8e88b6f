"""What everybody saw, as records in a JSONL file: written by the run, read by the validators.

All times (``at``, ``invoke``, ``done``) are seconds of one monotonic clock. Revisions are the partition's. ``hash`` is
that of an object's canonical bytes. ``outcome`` of a call: "ok"; "refused": the server said no, nothing happened;
"unknown": nobody said anything reliable, so it may have happened, may yet happen, or not.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import msgspec

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"

T = TypeVar("T", bound="Record")


class Record(msgspec.Struct, frozen=True, tag_field="record", omit_defaults=True):
    """One line of a history."""


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """``tenant`` "*": all; ``namespace`` "": all; selectors as sent, see ``timeline.matches``."""

    kind: str
    tenant: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""


class Begun(Record, frozen=True, tag="begun", omit_defaults=True):
    """The run. ``revision``: everything that is judged happened after it. ``cached``: kinds with a watch cache."""

    seed: int
    revision: int
    settings: dict[str, str] = {}


class Truth(Record, frozen=True, tag="truth", omit_defaults=True):
    """One change as etcd itself told it. ``deleted``: the key is gone; the rest describes the object.

    ``stamp``, ``status_stamp``: the ids of the last writes of object and status, which each write puts there.
    ``ending``: until when a graceful deletion may take, as text.
    """

    at: float
    revision: int
    key: str
    deleted: bool = False
    hash: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    fields: dict[str, str] = {}
    stamp: str = ""
    status_stamp: str = ""
    ending: str = ""


class Final(Record, frozen=True, tag="final", omit_defaults=True):
    """What etcd held when all was over: ``held`` is the revision of each key's last write."""

    at: float
    revision: int
    held: dict[str, int]


class Wrote(Record, frozen=True, tag="wrote", omit_defaults=True):
    """One write, or one item of a batch. ``id`` is the stamp it carries.

    ``verb``: create, update, status, patch, bind, delete. ``revision``: the acknowledged one; of an object that was
    deleted at once, that of its last state. ``expected``, ``uid``: preconditions. ``node``: what a bind asked for.
    ``generated``: the beginning of the key, of a create with generateName; ``key`` is that until the answer names all.
    """

    id: str
    client: str
    verb: str
    key: str
    invoke: float
    done: float
    outcome: str
    revision: int = 0
    expected: int = 0
    uid: str = ""
    node: str = ""
    code: str = ""
    reason: str = ""
    message: str = ""
    batch: bool = False
    generated: str = ""


class Cleared(Record, frozen=True, tag="cleared", omit_defaults=True):
    """One DeleteCollection. ``deleted``: how many objects it said that it deleted or marked."""

    id: str
    client: str
    selection: Selection
    invoke: float
    done: float
    outcome: str
    deleted: int = 0
    code: str = ""
    reason: str = ""
    message: str = ""


class Got(Record, frozen=True, tag="got", omit_defaults=True):
    """One GET. ``asked``: None unset. ``revision``, ``hash``: what was found; 0 if there was nothing."""

    client: str
    key: str
    asked: int | None
    invoke: float
    done: float
    outcome: str
    revision: int = 0
    hash: str = ""
    code: str = ""
    reason: str = ""
    message: str = ""


class Listed(Record, frozen=True, tag="listed", omit_defaults=True):
    """One page. ``series``: pages of one list; ``continues``: not the first of them; ``restarted``: this page goes on
    at the most recent state, its token having expired. ``items``: (key, revision, hash) in the order they came.
    """

    client: str
    series: str
    selection: Selection
    asked: int | None
    invoke: float
    done: float
    outcome: str
    match: str = ""
    limit: int = 0
    continues: bool = False
    restarted: bool = False
    revision: int = 0
    items: list[tuple[str, int, str]] = []
    more: bool = False
    remaining: int | None = None
    code: str = ""
    reason: str = ""
    message: str = ""


class Opened(Record, frozen=True, tag="opened", omit_defaults=True):
    """One watch was asked for. ``watcher``: the client that goes on from watch to watch; ``resumes``: it goes on at
    ``asked`` where the session of this name ended. ``acknowledged`` comes as a record of its own.
    """

    session: str
    watcher: str
    selection: Selection
    at: float
    asked: int | None = None
    initial: bool | None = None
    bookmarks: bool = False
    transport: str = ""
    resumes: str = ""


class Stands(Record, frozen=True, tag="stands", omit_defaults=True):
    """The server said that the watch stands."""

    session: str
    at: float


class Batch(Record, frozen=True, tag="batch", omit_defaults=True):
    """One message of a watch. ``events``: (type, key, revision, hash); type is 1 ADDED, 2 MODIFIED, 3 DELETED."""

    session: str
    at: float
    revision: int
    events: list[tuple[int, str, int, str]] = []
    bookmark: bool = False
    initial_end: bool = False


class Ended(Record, frozen=True, tag="ended", omit_defaults=True):
    """A watch is over. ``by``: "server" (it said so, with a status), "lost" (the connection), "client" (on purpose),
    "rest" (on purpose, long after everything had come to rest: all there was must have been delivered).

    ``resume``: where the server said to go on; ``oldest``: the oldest revision it said that it keeps.
    """

    session: str
    at: float
    by: str
    code: str = ""
    reason: str = ""
    message: str = ""
    resume: int = 0
    oldest: int = 0


class Followed(Record, frozen=True, tag="followed", omit_defaults=True):
    """An informer of ``services.client`` after a batch. ``changes``: key, old and new revision, 0 for none; ``held``:
    what it holds when all is over.
    """

    informer: str
    selection: Selection
    at: float
    changes: list[tuple[str, int, int]] = []
    held: dict[str, int] | None = None


class Fault(Record, frozen=True, tag="fault", omit_defaults=True):
    name: str
    begin: float
    end: float
    detail: str = ""


class Incident(Record, frozen=True, tag="incident", omit_defaults=True):
    """What must never be: a process that ended by itself, a traceback in its log, a client that stayed away."""

    at: float
    what: str


AnyRecord = (
    Begun
    | Truth
    | Final
    | Wrote
    | Cleared
    | Got
    | Listed
    | Opened
    | Stands
    | Batch
    | Ended
    | Followed
    | Fault
    | Incident
)

_decoder = msgspec.json.Decoder(AnyRecord)


class Recorder:
    """Writes a history. Records are kept in the order in which they are given."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Recorder:
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        self._file.write(self._encoder.encode(record) + b"\n")


@dataclass(frozen=True)
class Session:
    """One watch from its opening to its end; ``ended`` None: the history breaks off."""

    opened: Opened
    stands: Stands | None
    batches: tuple[Batch, ...]
    ended: Ended | None

    @property
    def name(self) -> str:
        return self.opened.session

    @property
    def wants_state(self) -> bool:
        return self.opened.initial if self.opened.initial is not None else not self.opened.asked


@dataclass(frozen=True)
class History:
    """All records in the order in which they were made."""

    records: tuple[Record, ...]
    sessions: tuple[Session, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sessions", tuple(_sessions(self.records)))

    def of(self, kind: type[T]) -> list[T]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def begun(self) -> int:
        """The revision after which things are judged."""
        found = self.of(Begun)
        return found[0].revision if found else 0


def load(path: pathlib.Path) -> History:
    """Raises ``OSError``, ``msgspec.DecodeError``."""
    with path.open("rb") as lines:
        return History(tuple(_decoder.decode(line) for line in lines))


def _sessions(records: Iterable[Record]) -> Iterable[Session]:
    opened: dict[str, Opened] = {}
    stands: dict[str, Stands] = {}
    batches: dict[str, list[Batch]] = {}
    ended: dict[str, Ended] = {}
    for record in records:
        match record:
            case Opened():
                opened[record.session] = record
            case Stands():
                stands[record.session] = record
            case Batch():
                batches.setdefault(record.session, []).append(record)
            case Ended():
                ended[record.session] = record
    for name, opening in opened.items():
        yield Session(opening, stands.get(name), tuple(batches.get(name, ())), ended.get(name))
