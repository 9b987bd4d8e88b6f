"""Merge patch: the examples of RFC 7386, appendix A; and the limits of JSON patch."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from services.apiserver import patching
from services.rpc.status import StatusError


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    before = json.dumps(target)
    assert patching.merge(target, patch) == result
    assert json.dumps(target) == before


def test_a_json_patch_of_too_many_operations_is_refused() -> None:
    operations = json.dumps([{"op": "remove", "path": "/a"}] * 10_001)
    with pytest.raises(StatusError, match="10001 operations"):
        patching.parse(patching.JSON_PATCH, operations)


@pytest.mark.parametrize(
    ("patch_type", "text"),
    [
        ("application/strategic-merge-patch+json", "{}"),
        (patching.JSON_PATCH, "{}"),
        (patching.JSON_PATCH, '[{"op": "fly", "path": "/a"}]'),
        (patching.JSON_PATCH, '[{"op": "replace", "path": "a", "value": 1}]'),
        (patching.MERGE_PATCH, "[" * 100_000),
    ],
)
def test_what_is_no_patch_is_refused(patch_type: str, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        patching.parse(patch_type, text)({"a": 1})
    assert caught.value.violations[0].field in ("patch", "patch_type")


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("patch_type", "text"),
    [
        (patching.MERGE_PATCH, r'{"\ud800": 1}'),
        (patching.MERGE_PATCH, r'{"metadata": {"labels": {"x": "\uDC00"}}}'),
        (patching.JSON_PATCH, r'[{"op": "add", "path": "/\ud800", "value": 1}]'),
        (patching.JSON_PATCH, r'[{"op": "\ud800", "path": "/a", "value": 1}]'),
        *((patching.JSON_PATCH, f'[{{"op": "add", "path": "/b", "value": {nested(depth)}}}]') for depth in (600, 850)),
        (patching.JSON_PATCH, '[{"op": "add", "path": "/list/%s", "value": 1}]' % ("1" * 5000)),
    ],
)
def test_a_patch_that_nothing_can_hold_is_refused_as_an_invalid_argument(patch_type: str, text: str) -> None:
    with pytest.raises(StatusError) as caught:
        patching.parse(patch_type, text)({"a": 1, "list": []})
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    caught.value.to_status()


def test_escaped_characters_outside_the_basic_plane_are_text() -> None:
    assert patching.parse(patching.MERGE_PATCH, r'{"a": "\ud83d\ude00"}')({}) == {"a": "😀"}


def test_copies_of_copies_are_refused_before_they_fill_the_memory() -> None:
    operations: list[dict[str, Any]] = [{"op": "add", "path": "/x", "value": {"v": 1}}]
    operations += [{"op": "copy", "from": "/x", "path": f"/x/c{number}"} for number in range(60)]
    with pytest.raises(StatusError) as caught:
        patching.parse(patching.JSON_PATCH, json.dumps(operations))({})
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RequestEntityTooLarge")
    refused = int(caught.value.violations[0].field.removeprefix("patch[").removesuffix("]"))
    assert 10 < refused < 20
    assert str(3 << 20) in caught.value.message


def test_many_small_copies_and_one_large_one_are_made() -> None:
    operations = [{"op": "copy", "from": "/small", "path": f"/s{number}"} for number in range(9_000)]
    operations.append({"op": "copy", "from": "/large", "path": "/l"})
    target = {"small": {"a": [1, None]}, "large": "x" * (1 << 20)}
    result = patching.parse(patching.JSON_PATCH, json.dumps(operations))(target)
    assert result["l"] == target["large"] and result["s8999"] == target["small"]
    assert len(target) == 2


def test_a_copy_of_what_is_not_there_is_refused() -> None:
    for source in ("/nothing", "/list/0", "/list/-", "no pointer"):
        operations = [{"op": "copy", "from": source, "path": "/a"}]
        with pytest.raises(StatusError) as caught:
            patching.parse(patching.JSON_PATCH, json.dumps(operations))({"list": []})
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
