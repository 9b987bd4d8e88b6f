"""Quantities: Kubernetes' suffixes, exactly; rounding is up."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import quantities
from services.api.quantities import QuantityError

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2", "e+1"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("+1", 1),
        ("-1", -1),
        ("100m", Fraction(1, 10)),
        ("1500m", Fraction(3, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1n", Fraction(1, 10**9)),
        ("1u", Fraction(1, 10**6)),
        ("1k", 10**3),
        ("1M", 10**6),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 2**10),
        ("1Mi", 2**20),
        ("1Gi", 2**30),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("1.5Gi", 3 * 2**29),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", Fraction(6, 5)),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_quantity_has_its_exact_value(text: str, value: Fraction | int) -> None:
    assert quantities.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 ",
        " 1",
        "m",
        "1K",
        "1ki",
        "1mi",
        "1Kii",
        "1e",
        "1ee3",
        "--1",
        "1.2.3",
        ".",
        "1,5",
        "0x10",
        "½",
        "١",
        "1e3Ki",
        "inf",
        "nan",
        "1_000",
        "1e31",
        "1e-31",
        "1e999999999",
        "9" * 65,
        "\n1",
    ],
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        quantities.parse(text)


@pytest.mark.parametrize(
    ("text", "milli", "whole"),
    [
        ("1", 1000, 1),
        ("0.0001", 1, 1),
        ("1.0001", 1001, 2),
        ("100m", 100, 1),
        ("1n", 1, 1),
        ("-0.5", -500, -1),
        ("0", 0, 0),
    ],
)
def test_integers_are_rounded_up(text: str, milli: int, whole: int) -> None:
    assert (quantities.milli(text), quantities.whole(text)) == (milli, whole)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Ki", "0"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1025Ki", "1025Ki"),
        ("2000Ki", "2000Ki"),
        ("0.5Ki", "512"),
        ("1000e3", "1e6"),
        ("1e3", "1e3"),
        ("1000000", "1M"),
        ("12345", "12345"),
        ("0.0000000001", "1n"),
        ("-2000", "-2k"),
        ("2000E", "2000E"),
        ("1.1Ki", "1127"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    assert quantities.canonical(text) == canonical


@st.composite
def texts(draw: st.DrawFn) -> str:
    whole = draw(st.integers(0, 10**12))
    fraction = draw(st.sampled_from(["", ".5", ".25", ".125", ".001", "."]))
    return f"{draw(st.sampled_from(['', '-', '+']))}{whole}{fraction}{draw(st.sampled_from(SUFFIXES))}"


@given(texts())
def test_canonical_is_stable_and_loses_at_most_a_rounding_up(text: str) -> None:
    canonical = quantities.canonical(text)
    assert quantities.canonical(canonical) == canonical
    before, after = quantities.parse(text), quantities.parse(canonical)
    nanos = Fraction(1, 10**9)
    step = nanos if "i" not in text or abs(before) < 1024 else 1
    assert 0 <= abs(after) - abs(before) < step
    assert "." not in canonical


@given(texts())
def test_milli_and_whole_bound_the_exact_value(text: str) -> None:
    exact = abs(quantities.parse(text))
    assert 0 <= abs(quantities.milli(text)) - exact * 1000 < 1
    assert 0 <= abs(quantities.whole(text)) - exact < 1


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_is_refused(text: str) -> None:
    try:
        quantities.parse(text)
    except QuantityError:
        return
    assert quantities.parse(quantities.canonical(text)) is not None
