"""YAML and JSON are read as kubectl reads them; what is malformed is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.api import documents
from services.api.documents import DEPTH_MAX, DocumentError
from services.api.manifests import yaml_text


def one(text: str) -> Any:
    ((_, document),) = documents.load(text)
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("+1", 1),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("0b11", 3),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("0.0001", 0.0001),
        ("22:22", "22:22"),
        ("1.2.3", "1.2.3"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("yes", True),
        ("off", False),
        ("true", True),
        ("'true'", "true"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int '7'", 7),
        ("!!float 7", 7.0),
        ("~", None),
        ("null", None),
        ("", None),
        ("100m", "100m"),
        ("e", "e"),
        ("-", [None]),
        ("|\n  a\n  b", "a\nb"),
        ("[1, a, [true]]", [1, "a", [True]]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    assert one(f"key: {text}" if text != "-" else "key:\n-") == {"key": value}


def test_what_is_not_json_but_yaml_is_yaml() -> None:
    assert one('{"a": 1,}') == {"a": 1}
    assert one('{"a": NaN}') == {"a": "NaN"}
    assert one("a: 09") == {"a": 9.0}  # not an octal number, so a float


def test_keys_are_strings() -> None:
    assert one("{1: a, true: b, null: c, 1.5: d}") == {"1": "a", "true": "b", "null": "c", "1.5": "d"}


def test_anchors_aliases_and_merges() -> None:
    text = """
base: &base {image: nginx, env: [a]}
one: {<<: *base, image: redis}
two: {image: x, <<: [*base, {more: 1}]}
three: *base
"""
    found = one(text)
    assert found["one"] == {"image": "redis", "env": ["a"]}
    assert found["two"] == {"image": "x", "env": ["a"], "more": 1}
    assert found["three"] == {"image": "nginx", "env": ["a"]}


def test_streams_skip_empty_documents_and_count_them() -> None:
    assert list(documents.load("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n")) == [(2, {"a": 1}), (4, {"b": 2})]
    assert list(documents.load('{"a": 1}\n{"b": 2}\n')) == [(1, {"a": 1}), (2, {"b": 2})]
    assert list(documents.load("")) == []
    assert list(documents.load("\ufeffa: 1")) == [(1, {"a": 1})]
    assert list(documents.load("{a: 1}\n---\nb: 2")) == [(1, {"a": 1}), (2, {"b": 2})]


@pytest.mark.parametrize(
    ("text", "document", "line", "column", "says"),
    [
        ("a: b: c", 1, 1, 5, "mapping values are not allowed"),
        ("a: 1\n---\nb: [1, 2", 2, 4, 1, "did not find expected"),
        ("a: 1\nb: 2\na: 3", 1, 3, 1, "the key 'a' is written twice"),
        ("x:\n  a: 1\n  'a': 3", 1, 3, 3, "the key 'a' is written twice"),
        ("a:\n\t- b", 1, 2, 1, "cannot start any token"),
        ("a: *b", 1, 1, 4, "no anchor &b"),
        ("a: &a [*a]", 1, 1, 8, "holds itself"),
        ("[" * 100000, 1, 1, DEPTH_MAX + 1, "nested deeper"),
        ("a: !!python/object/apply:os.system [id]", 1, 1, 4, "is not supported"),
        ("a: !mine b", 1, 1, 4, "is not supported"),
        ("a: !!int x", 1, 1, 4, "is not of type int"),
        ("? [a, b]\n: 2", 1, 1, 3, "a key must be a plain value"),
        ("<<: 1", 1, 1, 5, "<< wants a mapping"),
        ("a: \x00b", 1, 1, 4, "control characters"),
        ("a: 0x" + "f" * 5000, 1, 1, 4, "more than 1000 digits"),
        ("a: \ud800", 1, 0, 0, "surrogates not allowed"),
        ('{"a": 1}\n{"a" 1}', 2, 2, 6, "Expecting ':' delimiter"),
        ('{"a": {"b": 1, "b": 2}}', 1, 1, 16, "the key 'b' is written twice"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(
    text: str, document: int, line: int, column: int, says: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        list(documents.load(text))
    assert says in str(caught.value)
    assert (caught.value.document, caught.value.line, caught.value.column) == (document, line, column)


def test_aliases_cannot_blow_up() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(DocumentError, match="more than 2000000 values"):
        one("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *levels]))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "1", "yes", "~", "<<", "22:22", "1e3", "null", ""]), JSON, min_size=1)
)
def test_what_is_printed_as_yaml_reads_back_the_same_here_and_elsewhere(document: dict[str, Any]) -> None:
    text = yaml_text(document)
    assert one(text) == document
    assert yaml.safe_load(text) == document


@given(st.text(max_size=60))
def test_any_text_loads_or_is_refused(text: str) -> None:
    try:
        found = list(documents.load(text))
    except DocumentError as error:
        assert error.document >= 1
        return
    assert all(document is not None for _, document in found)
