"""Merge patch: the examples of RFC 7386, appendix A; and the limits of JSON patch."""

from __future__ import annotations

import json
from typing import Any

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
