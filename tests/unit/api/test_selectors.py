"""Selectors: Kubernetes' grammar, its meaning, and errors that name the request's field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.kinds import PODS
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.api.selectors import (
    EVERYTHING,
    Attributes,
    FieldRequirement,
    FieldSelector,
    LabelSelector,
    Requirement,
    Selection,
    SelectorError,
    from_message,
)

FIELDS = PODS.fields


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("  ", {"a": "1"}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app = web", {"app": "api"}, False),
        ("app=web", {}, False),
        ("app=", {"app": ""}, True),
        ("app=", {}, False),
        ("app!=web", {"app": "api"}, True),
        ("app!=web", {"app": "web"}, False),
        ("app!=web", {}, True),
        ("app in (web, api)", {"app": "api"}, True),
        ("app in (web,api)", {}, False),
        ("app in (web,)", {"app": ""}, True),
        ("app notin (web,api)", {"app": "db"}, True),
        ("app notin (web,api)", {"app": "web"}, False),
        ("app notin (web,api)", {}, True),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("!app", {"app": "x"}, False),
        ("app=web,tier in (a,b),!canary", {"app": "web", "tier": "b"}, True),
        ("app=web,tier in (a,b),!canary", {"app": "web", "tier": "b", "canary": ""}, False),
        ("example.com/size>10", {"example.com/size": "11"}, True),
        ("example.com/size>10", {"example.com/size": "10"}, False),
        ("size<10", {"size": "9"}, True),
        ("size<10", {"size": "small"}, False),
        ("size<10", {}, False),
        ("in=notin", {"in": "notin"}, True),
        ("in in (in)", {"in": "in"}, True),
    ],
)
def test_label_selectors_mean_what_kubernetes_means(text: str, labels: dict[str, str], matches: bool) -> None:
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,,b", "key"),
        ("app=web,", "after ','"),
        ("app in web", r"expected '\('"),
        ("app in (web", r"expected '\)'"),
        ("app in ()x", "expected ','"),
        ("=web", "key"),
        ("app=we b", "expected ','"),
        ("app~web", "key"),
        ("-app=web", "key"),
        ("app=-web", "value"),
        ("a/b/c=1", "key"),
        ("app=" + "x" * 64, "no more than 63"),
        ("size>small", "integer"),
        ("app=web)", "expected ','"),
        ("!", "key"),
        ("app==!web", "value"),
    ],
)
def test_what_is_no_label_selector_is_refused_by_field(text: str, says: str) -> None:
    with pytest.raises(SelectorError, match=says) as caught:
        LabelSelector.parse(text)
    assert caught.value.field == "label_selector"


KEYS = st.from_regex(r"\A([a-z][a-z0-9]{0,4}(\.[a-z0-9]{1,4}){0,2}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?\Z")
VALUES = st.from_regex(r"\A([A-Za-z0-9]([-A-Za-z0-9_.]{0,8}[A-Za-z0-9])?)?\Z")
LABELS = st.dictionaries(KEYS, VALUES, max_size=5)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]))
    if operator in ("Exists", "DoesNotExist"):
        return Requirement(draw(KEYS), operator)
    if operator in ("Gt", "Lt"):
        return Requirement(draw(KEYS), operator, (str(draw(st.integers(0, 10**9))),))
    return Requirement(draw(KEYS), operator, tuple(sorted(draw(st.sets(VALUES, min_size=1, max_size=4)))))


@given(st.lists(requirements(), max_size=4, unique=True))
def test_a_printed_label_selector_parses_to_itself(found: list[Requirement]) -> None:
    selector = LabelSelector(tuple(sorted(found)))
    assert LabelSelector.parse(str(selector)) == selector


@given(LABELS, requirements())
def test_a_requirement_and_its_opposite_never_agree(labels: dict[str, str], requirement: Requirement) -> None:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}.get(
        requirement.operator
    )
    if opposite:
        other = Requirement(requirement.key, opposite, requirement.values)
        assert requirement.matches(labels) is not other.matches(labels)


@given(LABELS)
def test_the_selector_of_labels_matches_them_and_whatever_holds_them(labels: dict[str, str]) -> None:
    selector = LabelSelector.from_labels(labels)
    assert selector.matches({**labels, "more/one": "1"})
    assert selector.everything is (not labels)
    for key in labels:
        assert not selector.matches({other: value for other, value in labels.items() if other != key})


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        selector = LabelSelector.parse(text)
    except SelectorError:
        return
    assert LabelSelector.parse(str(selector)) == selector


def test_selectors_that_mean_the_same_are_equal() -> None:
    assert LabelSelector.parse("b,a==1,a=1") == LabelSelector.parse("a in (1),b")
    assert hash(Selection.parse("a=1,b=2", "", FIELDS)) == hash(Selection.parse("b==2, a=1", "", FIELDS))


def test_a_selector_message() -> None:
    message = meta_pb2.LabelSelector(match_labels={"app": "web"})
    message.match_expressions.add(key="tier", operator="NotIn", values=["b", "a"])
    assert str(from_message(message)) == "app=web,tier notin (a,b)"
    assert from_message(meta_pb2.LabelSelector()).everything


@pytest.mark.parametrize(
    ("operator", "values", "path"),
    [
        ("In", [], "labelSelector.matchExpressions[0].values"),
        ("Exists", ["x"], "labelSelector.matchExpressions[0].values"),
        ("Gt", ["1"], "labelSelector.matchExpressions[0].operator"),
    ],
)
def test_a_wrong_selector_message_names_the_path(operator: str, values: list[str], path: str) -> None:
    message = meta_pb2.LabelSelector()
    message.match_expressions.add(key="tier", operator=operator, values=values)
    with pytest.raises(SelectorError) as caught:
        from_message(message)
    assert caught.value.field == path


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName==n1,status.phase!=Failed", True),
        ("spec.nodeName!=n1", False),
        ("status.phase=", False),
        ("status.podIP=", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    fields = {"spec.nodeName": "n1", "status.phase": "Running", "status.podIP": ""}
    assert FieldSelector.parse(text, FIELDS).matches(fields) is matches


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("spec.image=x", "field label not supported: 'spec.image'; supported are metadata.name"),
        ("spec.nodeName", "invalid selector"),
        ("spec.nodeName=a=b", "unescaped '='"),
        ("spec.nodeName=a\\x", "escape"),
        ("spec.nodeName=a\\", "escape"),
        ("=n1", "not supported"),
    ],
)
def test_what_is_no_field_selector_is_refused_by_field(text: str, says: str) -> None:
    with pytest.raises(SelectorError, match=says) as caught:
        FieldSelector.parse(text, FIELDS)
    assert caught.value.field == "field_selector"


@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.text(max_size=10), st.booleans()), max_size=4))
def test_a_printed_field_selector_parses_to_itself(found: list[tuple[str, str, bool]]) -> None:
    wanted = {FieldRequirement(name, value.strip(), equal) for name, value, equal in found}
    selector = FieldSelector(tuple(sorted(wanted)))
    assert FieldSelector.parse(str(selector), FIELDS) == selector


def test_a_selection_says_what_an_index_can_use() -> None:
    selection = Selection.parse("app=web", "spec.nodeName=n1,status.phase!=Failed", FIELDS)
    assert selection.required("spec.nodeName") == "n1"
    assert selection.required("status.phase") is None
    assert not selection.everything
    assert selection.matches(Attributes({"app": "web"}, {"spec.nodeName": "n1"}))
    assert not selection.matches(Attributes({"app": "web"}, {"spec.nodeName": "n2"}))
    assert not selection.matches(Attributes({}, {"spec.nodeName": "n1"}))


def test_no_selectors_is_everything() -> None:
    assert Selection.parse("", "", FIELDS) is EVERYTHING
    assert EVERYTHING.everything
    assert EVERYTHING.matches(Attributes({}, {}))
    assert EVERYTHING.required("metadata.name") is None
