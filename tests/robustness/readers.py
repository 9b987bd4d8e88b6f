"""Clients that read: GET and LIST in every mode of the tables, whole and in pages."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from services.base.rand import Rand
from services.client.clientset import Clientset, Listing
from tests.robustness import board as boards
from tests.robustness.board import Board
from tests.robustness.calling import Answer, ask
from tests.robustness.history import OK, Got, Listed, Recorder, Selection
from tests.robustness.objects import KINDS, digest, key_of


class Reader:
    """``run`` reads until ``stop`` is set, about every ``pause_s`` seconds."""

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
            if self._rand.uniform(0, 1) < 0.5:
                await self._get()
            else:
                await self._list()
            await asyncio.sleep(self._rand.uniform(0, 2 * self._pause_s))

    def _client(self) -> Clientset:
        return self._rand.choice(self._clients)

    def _some_revision(self) -> int:
        """Recent, older, or one that nobody has seen yet."""
        return max(1, self._board.revision - self._rand.choice((0, 0, 5, 20, 100, -2)))

    async def _get(self) -> None:
        kind = boards.some_kind(self._rand)
        tenant, namespace, name = boards.some_place(self._rand)
        asked = self._rand.choice((None, None, None, 0, self._some_revision()))
        client = self._client().resource(KINDS[kind])
        answer = await ask(client.get(name, tenant=tenant, namespace=namespace, resource_version=asked))
        key = f"/ursa/{kind}/{tenant}/{namespace}/{name}"
        revision, held = 0, ""
        if answer.outcome == OK:
            revision, held = answer.value.metadata.resource_version, digest(answer.value)
            self._board.saw(key, answer.value)
        elif answer.reason == "NotFound":
            self._board.objects.pop(key, None)
        self._recorder.add(
            Got(
                client=self.name,
                key=key,
                asked=asked,
                invoke=answer.invoke,
                done=answer.done,
                outcome=answer.outcome,
                revision=revision,
                hash=held,
                code=answer.code,
                reason=answer.reason,
                message=answer.message,
            )
        )

    async def _list(self) -> None:
        selection = boards.some_selection(self._rand)
        limit = self._rand.choice((0, 0, 1, 3, 7))
        asked, match = self._rand.choice(
            (
                (None, ""),
                (None, ""),
                (None, ""),
                (0, ""),
                (0, "NotOlderThan"),
                (self._some_revision(), ""),
                (self._some_revision(), "NotOlderThan"),
                (self._some_revision(), "Exact"),
            )
        )
        series = f"{self.name}-{next(self._numbers)}"
        token, restarted = "", False
        continues = False
        for _ in range(60):
            answer = await self._page(selection, None if token else asked, "" if token else match, limit, token)
            page = answer.value
            self._note(series, selection, answer, None if token else asked, match, limit, continues, restarted)
            if answer.outcome == OK:
                token, restarted = page.continue_token, False
                if not token:
                    return
            else:
                # The token has expired: the server gives one that goes on at the most recent state.
                fresh = answer.error.metadata.get("continue", "") if answer.error is not None else ""
                if answer.reason != "Expired" or not fresh or fresh == token:
                    return
                token, restarted = fresh, True
            continues = True
            await asyncio.sleep(self._rand.choice((0.0, 0.0, 0.05, 0.3)))

    async def _page(self, selection: Selection, asked: int | None, match: str, limit: int, token: str) -> Answer:
        client = self._client().resource(KINDS[selection.kind])
        return await ask(
            client.list(
                tenant=selection.tenant,
                namespace=selection.namespace,
                label_selector=selection.labels,
                field_selector=selection.fields,
                resource_version=asked,
                match=match,
                limit=limit,
                continue_token=token,
            )
        )

    def _note(
        self,
        series: str,
        selection: Selection,
        answer: Answer,
        asked: int | None,
        match: str,
        limit: int,
        continues: bool,
        restarted: bool,
    ) -> None:
        page: Listing | None = answer.value  # type: ignore[type-arg]
        items: list[tuple[str, int, str]] = []
        if page is not None:
            self._board.reached(page.resource_version)
            for item in page.items:
                key = key_of(selection.kind, item.metadata)
                self._board.saw(key, item)
                items.append((key, item.metadata.resource_version, digest(item)))
        self._recorder.add(
            Listed(
                client=self.name,
                series=series,
                selection=selection,
                asked=asked,
                invoke=answer.invoke,
                done=answer.done,
                outcome=answer.outcome,
                match=match,
                limit=limit,
                continues=continues,
                restarted=restarted,
                revision=page.resource_version if page is not None else 0,
                items=items,
                more=bool(page.continue_token) if page is not None else False,
                remaining=page.remaining if page is not None else None,
                code=answer.code,
                reason=answer.reason,
                message=answer.message,
            )
        )
