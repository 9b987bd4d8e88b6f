"""SEMANTICS, table Errors, and continue tokens."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Any

import grpc
import pytest

from services.api import kinds
from services.api.kinds import Kind
from tests.integration.apiserver.world import named, refused, running, tenant_partition_config
from tests.integration.semantics.world import AHEAD, ALL_KINDS, SORTS, Servers, Subject, by_name, history_of, port

# A list that waits takes one of the places for lists.
KINDS_AT_ONCE = 5  # with three lists each no more than a server begins at once

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]

LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "match without RV": ({"match": "NotOlderThan"}, "resource_version_match"),
    "Exact without RV": ({"match": "Exact"}, "resource_version_match"),
    "Exact with RV 0": ({"match": "Exact", "resource_version": 0}, "resource_version_match"),
    "unknown match": ({"match": "Newest", "resource_version": 5}, "resource_version_match"),
    "match with continue": (
        {"match": "NotOlderThan", "resource_version": 0, "continue_token": "TOKEN"},
        "resource_version_match",
    ),
    "RV with continue": ({"resource_version": 5, "continue_token": "TOKEN"}, "resource_version"),
    "negative RV": ({"resource_version": -1}, "resource_version"),
    "token that is none": ({"continue_token": "nonsense!"}, "continue"),
    "label selector": ({"label_selector": "a in (b"}, "label_selector"),
    "field selector": ({"field_selector": "spec.color=red"}, "field_selector"),
    "negative limit": ({"limit": -1}, "limit"),
    "limit above a page": ({"limit": 10_001}, "limit"),
}
WATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "initial events without match": ({"send_initial_events": True}, "resource_version_match"),
    "initial events with Exact": (
        {"send_initial_events": True, "resource_version_match": "Exact", "resource_version": 5},
        "resource_version_match",
    ),
    "match without initial events": (
        {"resource_version_match": "NotOlderThan", "resource_version": 5},
        "resource_version_match",
    ),
    "negative RV": ({"resource_version": -1}, "resource_version"),
    "label selector": ({"label_selector": "a in (b"}, "label_selector"),
    "field selector": ({"field_selector": "spec.color=red"}, "field_selector"),
    "negative timeout": ({"timeout_seconds": -1}, "timeout_seconds"),
}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_lists_that_contradict_themselves_name_the_field(servers: Servers, kind: Kind) -> None:
    subject = (await history_of(servers, kind)).subject
    token = (await subject.list(limit=1)).continue_token
    for row, (query, field) in LISTS.items():
        chosen = {name: token if value == "TOKEN" else value for name, value in query.items()}
        error = await refused(subject.list(**chosen))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT, row
        assert field in [violation.field for violation in error.violations], (row, error.violations)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_watches_that_contradict_themselves_name_the_field(servers: Servers, kind: Kind) -> None:
    subject = (await history_of(servers, kind)).subject
    for sort in SORTS:
        for row, (selection, field) in WATCHES.items():
            async with subject.watch(sort, **selection) as watch:
                error = await watch.refused()
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT, (sort, row)
            assert field in [violation.field for violation in error.violations], (sort, row, error.violations)


async def test_an_rv_ahead_is_waited_for_three_seconds_and_then_too_large(servers: Servers) -> None:
    async def too_large(call: Any) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        error = await refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "ResourceVersionTooLarge"), error
        assert error.retry_after_s == 1.0
        assert 2.8 < loop.time() - started < 8

    async def watch_too_large(subject: Subject, sort: str, version: int) -> None:
        async with subject.watch(
            sort, resource_version=version, send_initial_events=True, resource_version_match="NotOlderThan"
        ) as watch:
            error = await watch.refused()
            assert (error.reason, error.retry_after_s) == ("ResourceVersionTooLarge", 1.0)

    for some in (ALL_KINDS[at : at + KINDS_AT_ONCE] for at in range(0, len(ALL_KINDS), KINDS_AT_ONCE)):
        async with asyncio.TaskGroup() as tasks:
            for kind in some:
                history = await history_of(servers, kind)
                subject, ahead = history.subject, history.latest + AHEAD
                tasks.create_task(too_large(subject.get("a0", ahead)))
                tasks.create_task(too_large(subject.list(resource_version=ahead)))
                tasks.create_task(too_large(subject.list(resource_version=ahead, match="NotOlderThan", limit=1)))
                tasks.create_task(too_large(subject.list(resource_version=ahead, match="Exact")))
                tasks.create_task(watch_too_large(subject, "typed", ahead))
                tasks.create_task(watch_too_large(subject, "multiplexed", ahead))


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_writes_exists_missing_and_preconditions(servers: Servers, kind: Kind) -> None:
    history = await history_of(servers, kind)
    subject = history.subject
    error = await refused(subject.create("a0"))
    assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists")
    for call in (
        subject.client.update(subject.obj(history.missing)),
        subject.client.delete(subject.prefix + history.missing, **subject.place),
    ):
        error = await refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "NotFound")
    current = await subject.get("a0")
    version = current.metadata.resource_version
    stale = type(current)()
    stale.CopyFrom(current)
    stale.metadata.labels["x"] = "y"
    stale.metadata.resource_version = history.created - 1
    other = type(current)()
    other.CopyFrom(current)
    other.metadata.uid = "somebody-else"
    other.metadata.resource_version = 0
    other.metadata.labels["x"] = "y"
    for call in (
        subject.client.update(stale),
        subject.client.update(other),
        subject.client.delete(subject.prefix + "a0", uid="somebody-else", **subject.place),
        subject.client.delete(subject.prefix + "a0", resource_version=history.created - 1, **subject.place),
    ):
        error = await refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "Conflict"), error
        assert error.current_rv == version
    unchanged = await subject.client.update(current)
    assert unchanged.metadata.resource_version == version, "an update equal to what is stored writes nothing"


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_a_token_is_bound_and_authenticated(servers: Servers, kind: Kind) -> None:
    history = await history_of(servers, kind)
    subject = history.subject
    token = (await subject.list(limit=2)).continue_token
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    tampered = [base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode() for at in (0, 17)]
    tampered += [token[:-4], token + "AAAA"]
    other_kind = next(found for found in ALL_KINDS if found.scope is kind.scope and found is not kind)
    elsewhere = servers.home(other_kind).clients.resource(other_kind)
    calls = [subject.list(continue_token=text) for text in tampered]
    calls.append(subject.list(continue_token=token, label_selector="a=b"))
    calls.append(subject.list(continue_token=token, field_selector="metadata.name=b"))
    calls.append(elsewhere.list(continue_token=token, **_place(other_kind, subject)))
    if kind.tenant_scoped:
        calls.append(subject.list(continue_token=token, tenant="system"))
    if kind.namespaced:
        calls.append(subject.list(continue_token=token, namespace=""))
    if kind.resource in ("leases", "events", "namespaces"):
        there = servers.rp.clients.resource(kind)
        calls.append(there.list(continue_token=token, **{**subject.place, "tenant": "system"}))
    for call in calls:
        error = await refused(call)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in error.violations] == ["continue"]


def _place(kind: Kind, subject: Subject) -> dict[str, str]:
    return subject.place if kind.tenant_scoped else {}


async def test_a_tenant_of_another_partition_is_named_with_its_partition(servers: Servers) -> None:
    name = f"elsewhere-{servers.mode}"
    placement = named(kinds.TENANT_PLACEMENTS, name)
    placement.spec.tenant_partition = "tp-2"
    await servers.rp.clients.tenant_placements.create(placement)
    for kind in ALL_KINDS:
        if not (kind.tenant_scoped and kind.served_by("tenant")):
            continue
        place = {"tenant": name, "namespace": "default" if kind.namespaced else ""}
        subject = Subject(servers, kind, servers.tp, name, place["namespace"], "w-")
        errors = [await refused(call) for call in (subject.get("a"), subject.list(), subject.create("a"))]
        for sort in SORTS:
            async with subject.watch(sort) as watch:
                errors.append(await watch.refused())
        for error in errors:
            assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WrongPartition"), error
            assert error.metadata["partition"] == "tp-2"


async def test_tokens_survive_a_restart_of_the_server(servers: Servers) -> None:
    """A server that was never asked before goes on with another one's token."""
    history = await history_of(servers, kinds.PODS)
    subject = history.subject
    first = await subject.list(resource_version=history.created, limit=2)
    config = tenant_partition_config(servers.tenant_etcd.endpoint, port(), servers.rp.endpoint)
    config = dataclasses.replace(
        config, watch_cache=dataclasses.replace(config.watch_cache, off=("*",) if servers.mode == "uncached" else ())
    )
    async with running(config) as again:
        restarted = dataclasses.replace(subject, partition=again)
        rest = await restarted.list(continue_token=first.continue_token)
    assert subject.names(first) + subject.names(rest) == history.before
    assert rest.resource_version == history.created
