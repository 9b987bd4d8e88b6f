"""``apply``: the file's changes reach the object, everything that others put there stays."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.cli import threeway
from services.cli.threeway import LAST_APPLIED, annotated, changes, covers, desired, patch

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}},
    "spec": {
        "containers": [{"name": "nginx", "image": "nginx:1", "ports": [{"containerPort": 80}]}],
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    },
}


def served(pod: dict[str, Any]) -> dict[str, Any]:
    """The object as a server has it: applied, with defaults and the work of others in it."""
    live = annotated(copy.deepcopy(pod))
    live["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    live["spec"]["containers"][0] |= {"imagePullPolicy": "IfNotPresent"}
    live["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    live["spec"]["tolerations"].append({"key": "not-ready", "tolerationSeconds": 300})
    live["spec"]["containers"].append({"name": "injected", "image": "proxy"})
    live["spec"]["restartPolicy"] = "Always"
    live["status"] = {"phase": "Running"}
    return live


def merge_patched(target: Any, change: Any) -> Any:
    """RFC 7386, as the server does it."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def test_the_same_file_changes_nothing() -> None:
    assert changes(served(POD), POD) == {}


def test_a_new_image_is_the_only_change_and_keeps_what_others_added() -> None:
    new = copy.deepcopy(POD)
    new["spec"]["containers"][0]["image"] = "nginx:2"
    change = changes(served(POD), new)
    assert set(change) == {"metadata", "spec"} and set(change["spec"]) == {"containers"}
    assert change["spec"]["containers"] == [
        {
            "name": "nginx",
            "image": "nginx:2",
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
        },
        {"name": "injected", "image": "proxy"},
    ]
    assert set(change["metadata"]) == {"annotations"}


def test_what_leaves_the_file_leaves_the_object() -> None:
    new = copy.deepcopy(POD)
    del new["metadata"]["labels"]["tier"]
    new["spec"]["tolerations"] = []
    change = changes(served(POD), new)
    assert change["metadata"]["labels"] == {"tier": None}
    assert change["spec"]["tolerations"] == [{"key": "not-ready", "tolerationSeconds": 300}]


def test_what_was_never_in_the_file_stays() -> None:
    live = served(POD)
    live["metadata"]["labels"]["added"] = "by-hand"
    assert changes(live, POD) == {}


def test_an_object_that_was_not_applied_before_is_adopted_without_deletions() -> None:
    live = {"metadata": {"name": "web", "labels": {"other": "x"}}, "spec": {"containers": [{"name": "nginx"}]}}
    change = changes(live, POD)
    assert "other" not in json.dumps(change["metadata"]["labels"])
    assert LAST_APPLIED in change["metadata"]["annotations"]


def test_status_in_a_file_is_never_sent() -> None:
    assert "status" not in changes(served(POD), {**POD, "status": {"phase": "Failed"}})


def test_a_broken_annotation_counts_as_none() -> None:
    assert threeway.last_applied({"metadata": {"annotations": {LAST_APPLIED: "{"}}}) == {}
    assert threeway.last_applied({"metadata": {"annotations": {LAST_APPLIED: "[]"}}}) == {}


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([{"a": 1, "b": 2}], [{"a": 1}], True),
        ([1, 2], [1], False),
        ("ab", "a", False),
    ],
)
def test_covering(whole: Any, part: Any, expected: bool) -> None:
    assert covers(whole, part) is expected


keys = st.sampled_from("abcd")
scalars = st.integers(0, 3) | st.sampled_from(["x", "y"]) | st.booleans()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("pqr")}, optional={"v": inner}),
            max_size=3,
            unique_by=lambda one: one["name"],
        )
    ),
    max_leaves=10,
)
objects = st.dictionaries(keys, values, max_size=4)


@given(live=objects, wanted=objects)
def test_the_patch_leads_from_one_object_to_the_other(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert merge_patched(live, patch(live, wanted)) == wanted


@given(last=objects, new=objects, live=objects)
@example(last={}, new={"c": [{}]}, live={"c": [{"name": "p"}, {"name": "q"}]})
def test_the_merge_says_what_the_file_says_and_is_done_after_once(
    last: dict[str, Any], new: dict[str, Any], live: dict[str, Any]
) -> None:
    once = desired(last, new, live)
    for key, value in new.items():
        if not isinstance(value, dict | list):
            assert once[key] == value
    assert not [key for key in last if key in once and key not in new]
    assert desired(new, new, once) == once
