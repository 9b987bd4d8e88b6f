"""Clients that write: every verb, singly and in batches, with and without preconditions, on keys they share."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from services.api.pb.ursa.core.v1 import pod_pb2
from services.base.rand import Rand
from services.client.clientset import JSON_PATCH, MERGE_PATCH, Clientset
from tests.robustness import board as boards
from tests.robustness.board import Board
from tests.robustness.calling import Answer, ask
from tests.robustness.history import OK, REFUSED, UNKNOWN, Cleared, Recorder, Wrote
from tests.robustness.objects import KINDS, STAMP, key_of, make

_VERBS = (
    *("create",) * 6,
    *("update",) * 4,
    *("patch",) * 3,
    *("status",) * 3,
    *("bind",) * 2,
    *("delete",) * 4,
    *("batch_create",) * 2,
    *("batch_update",) * 2,
    *("batch_status",) * 1,
    *("generate",) * 3,
    *("clear",) * 1,
)


@dataclass(frozen=True)
class Intent:
    """One write before its answer is known."""

    id: str
    verb: str
    key: str
    expected: int = 0
    uid: str = ""
    node: str = ""
    generated: str = ""


class Writer:
    """``run`` writes until ``stop`` is set, about every ``pause_s`` seconds."""

    def __init__(
        self, name: str, clients: Sequence[Clientset], board: Board, recorder: Recorder, rand: Rand, pause_s: float
    ) -> None:
        self.name = name
        self._clients = clients
        self._board = board
        self._recorder = recorder
        self._rand = rand
        self._pause_s = pause_s
        self._numbers = itertools.count(1)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await getattr(self, "_" + self._rand.choice(_VERBS))()
            await asyncio.sleep(self._rand.uniform(0, 2 * self._pause_s))

    # -- verbs

    async def _create(self) -> None:
        kind, intent, obj = self._new()
        self._single(intent, await ask(self._resource(kind).create(obj)))

    async def _generate(self) -> None:
        kind = boards.some_kind(self._rand)
        tenant, namespace, beginning = boards.some_generated_place(self._rand)
        stamp = self._id()
        obj = make(kind, tenant, namespace, "", boards.some_labels(self._rand), stamp)
        obj.metadata.generate_name = beginning
        asked = key_of(kind, obj.metadata) + beginning
        answer = await ask(self._resource(kind).create(obj))
        key = key_of(kind, answer.value.metadata) if answer.outcome == OK else asked
        self._single(Intent(stamp, "create", key, generated=asked), answer)

    async def _clear(self) -> None:
        chosen = boards.some_clearing(self._rand)
        identity = self._id()
        call = self._resource(chosen.kind).delete_collection(
            tenant=chosen.tenant,
            namespace=chosen.namespace,
            label_selector=chosen.labels,
            grace_period_seconds=self._rand.choice((0, 0, 30)),
        )
        answer = await ask(call)
        self._recorder.add(
            Cleared(
                id=identity,
                client=self.name,
                selection=chosen,
                invoke=answer.invoke,
                done=answer.done,
                outcome=answer.outcome,
                deleted=answer.value if answer.outcome == OK else 0,
                code=answer.code,
                reason=answer.reason,
                message=answer.message,
            )
        )

    async def _update(self) -> None:
        change = self._changed()
        if change is not None:
            kind, intent, obj = change
            self._single(intent, await ask(self._resource(kind).update(obj)))

    async def _status(self) -> None:
        change = self._status_changed()
        if change is not None:
            intent, obj = change
            self._single(intent, await ask(self._resource("pods").update_status(obj)))

    async def _patch(self) -> None:
        kind = boards.some_kind(self._rand)
        known = self._known(kind)
        if known is None:
            return
        metadata = known.metadata
        intent = self._intent("patch", key_of(kind, metadata), metadata, uid_odds=0.3)
        text, patch_type = self._patch_of(intent.id)
        call = self._resource(kind).patch(
            metadata.name,
            text,
            tenant=metadata.tenant,
            namespace=metadata.namespace,
            patch_type=patch_type,
            uid=intent.uid,
            resource_version=intent.expected,
        )
        self._single(intent, await ask(call))

    async def _bind(self) -> None:
        known = self._known("pods")
        if known is None:
            return
        metadata = known.metadata
        node = self._rand.choice(boards.NODES)
        intent = Intent(self._id(), "bind", key_of("pods", metadata), uid=metadata.uid, node=node)
        binding = pod_pb2.Binding(resource_partition="rp-1")
        binding.metadata.tenant, binding.metadata.namespace = metadata.tenant, metadata.namespace
        binding.metadata.name, binding.metadata.uid = metadata.name, metadata.uid
        binding.metadata.annotations[STAMP] = intent.id
        binding.target.kind, binding.target.name = "Node", node
        self._single(intent, await ask(self._rand.choice(self._clients).pods.bind(binding)))

    async def _delete(self) -> None:
        kind = boards.some_kind(self._rand)
        known = self._known(kind)
        if known is None:
            return
        metadata = known.metadata
        intent = self._intent("delete", key_of(kind, metadata), metadata, uid_odds=0.4)
        call = self._resource(kind).delete(
            metadata.name,
            tenant=metadata.tenant,
            namespace=metadata.namespace,
            uid=intent.uid,
            resource_version=intent.expected,
            grace_period_seconds=self._rand.choice((0, 0, 0, 30)),
        )
        self._single(intent, await ask(call))

    async def _batch_create(self) -> None:
        kind = boards.some_kind(self._rand)
        items: dict[str, tuple[Intent, Any]] = {}
        for _ in range(self._rand.integer(2, 8)):
            _, intent, obj = self._new(kind)
            items.setdefault(intent.key, (intent, obj))
        client = self._resource(kind)
        answer = await ask(client.batch_create([obj for _, obj in items.values()]))
        self._batch([intent for intent, _ in items.values()], answer)

    async def _batch_update(self) -> None:
        kind = boards.some_kind(self._rand)
        changes = [self._changed(kind) for _ in range(self._rand.integer(2, 6))]
        items = {change[1].key: change for change in changes if change is not None}
        if items:
            answer = await ask(self._resource(kind).batch_update([obj for _, _, obj in items.values()]))
            self._batch([intent for _, intent, _ in items.values()], answer)

    async def _batch_status(self) -> None:
        changes = [self._status_changed() for _ in range(self._rand.integer(2, 6))]
        items = {change[0].key: change for change in changes if change is not None}
        if items:
            answer = await ask(self._resource("pods").batch_update_status([obj for _, obj in items.values()]))
            self._batch([intent for intent, _ in items.values()], answer)

    # -- objects

    def _id(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    def _resource(self, kind: str) -> Any:
        return self._rand.choice(self._clients).resource(KINDS[kind])

    def _known(self, kind: str) -> Any | None:
        """An object as somebody saw it last; it may have changed or gone since."""
        found = [key for key in self._board.objects if key.startswith(f"/ursa/{kind}/")]
        return self._board.objects[self._rand.choice(found)] if found else None

    def _intent(self, verb: str, key: str, metadata: Any, *, uid_odds: float) -> Intent:
        expected = metadata.resource_version if self._rand.uniform(0, 1) < 0.5 else 0
        uid = metadata.uid if self._rand.uniform(0, 1) < uid_odds else ""
        return Intent(self._id(), verb, key, expected, uid)

    def _new(self, kind: str = "") -> tuple[str, Intent, Any]:
        kind = kind or boards.some_kind(self._rand)
        tenant, namespace, name = boards.some_place(self._rand)
        stamp = self._id()
        labels, ballast = boards.some_labels(self._rand), boards.some_ballast(self._rand)
        obj = make(kind, tenant, namespace, name, labels, stamp, ballast)
        return kind, Intent(stamp, "create", key_of(kind, obj.metadata)), obj

    def _changed(self, kind: str = "") -> tuple[str, Intent, Any] | None:
        kind = kind or boards.some_kind(self._rand)
        known = self._known(kind)
        if known is None:
            return None
        intent = self._intent("update", key_of(kind, known.metadata), known.metadata, uid_odds=0.7)
        obj = type(known)()
        obj.CopyFrom(known)
        obj.metadata.labels.clear()
        obj.metadata.labels.update(boards.some_labels(self._rand))
        obj.metadata.annotations[STAMP] = intent.id
        obj.metadata.uid, obj.metadata.resource_version = intent.uid, intent.expected
        return kind, intent, obj

    def _status_changed(self) -> tuple[Intent, Any] | None:
        known = self._known("pods")
        if known is None:
            return None
        intent = self._intent("status", key_of("pods", known.metadata), known.metadata, uid_odds=0.7)
        obj = pod_pb2.Pod()
        obj.metadata.tenant, obj.metadata.namespace = known.metadata.tenant, known.metadata.namespace
        obj.metadata.name = known.metadata.name
        obj.metadata.uid, obj.metadata.resource_version = intent.uid, intent.expected
        obj.status.phase = self._rand.choice(boards.PHASES)
        obj.status.message = intent.id
        return intent, obj

    def _patch_of(self, stamp: str) -> tuple[str, str]:
        labels = boards.some_labels(self._rand)
        if self._rand.uniform(0, 1) < 0.5:
            return json.dumps({"metadata": {"labels": labels, "annotations": {STAMP: stamp}}}), MERGE_PATCH
        path = "/metadata/annotations/" + STAMP.replace("/", "~1")
        steps = [
            {"op": "add", "path": path, "value": stamp},
            {"op": "add", "path": "/metadata/labels", "value": labels},
        ]
        return json.dumps(steps), JSON_PATCH

    # -- answers

    def _single(self, intent: Intent, answer: Answer) -> None:
        revision = 0
        if answer.outcome == OK:
            revision = answer.value.metadata.resource_version
            if intent.verb == "delete":
                self._board.reached(revision)
            else:
                self._board.saw(intent.key, answer.value)
        elif answer.reason == "NotFound":
            self._board.objects.pop(intent.key, None)
        self._record(intent, answer, answer.outcome, revision, answer.code, answer.reason, answer.message)

    def _batch(self, intents: Sequence[Intent], answer: Answer) -> None:
        if answer.outcome != OK:
            for intent in intents:
                code, reason = answer.code, answer.reason
                self._record(intent, answer, answer.outcome, 0, code, reason, answer.message, batch=True)
            return
        for intent, item in zip(intents, answer.value, strict=True):
            error = item.status
            if error is None:
                self._board.reached(item.resource_version)
                self._record(intent, answer, OK, item.resource_version, batch=True)
                continue
            outcome = UNKNOWN if error.code is grpc.StatusCode.UNKNOWN else REFUSED
            self._record(intent, answer, outcome, 0, error.code.name, error.reason, error.message[:200], batch=True)

    def _record(
        self,
        intent: Intent,
        answer: Answer,
        outcome: str,
        revision: int,
        code: str = "",
        reason: str = "",
        message: str = "",
        *,
        batch: bool = False,
    ) -> None:
        self._recorder.add(
            Wrote(
                id=intent.id,
                client=self.name,
                verb=intent.verb,
                key=intent.key,
                invoke=answer.invoke,
                done=answer.done,
                outcome=outcome,
                revision=revision,
                expected=intent.expected,
                uid=intent.uid,
                node=intent.node,
                code=code,
                reason=reason,
                message=message,
                batch=batch,
                generated=intent.generated,
            )
        )
