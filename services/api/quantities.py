"""Quantities in Kubernetes' syntax (apimachinery ``api/resource``): parsed exactly, rounded up to integers.

``<sign><digits[.digits]><suffix>``; the suffix is decimal SI (``n u m k M G T P E``), binary (``Ki Mi Gi Ti Pi Ei``) or
a decimal exponent (``e3``, ``E-3``).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

INT64_MAX = 2**63 - 1
TEXT_LENGTH_MAX = 64
EXPONENT_MAX = 30

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_QUANTITY = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?", re.ASCII)
_CACHE_SIZE = 8192


class QuantityError(ValueError):
    """The text is not a quantity, or one beyond reason."""


def _split(text: str) -> tuple[Fraction, str]:
    """Value and suffix."""
    match = _QUANTITY.fullmatch(text)
    if match is None or len(text) > TEXT_LENGTH_MAX:
        shown = text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}..."
        raise QuantityError(f"{shown!r} is not a quantity: want a number and a suffix, such as 250m, 1.5, 2Gi, 1e3")
    sign, digits, suffix = match.group(1), match.group(2), match.group(3) or ""
    number = Fraction(digits if digits[-1] != "." else digits[:-1])
    if suffix in _BINARY:
        number *= 2 ** _BINARY[suffix]
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        if abs(exponent) > EXPONENT_MAX:
            raise QuantityError(f"{text!r}: the exponent is beyond ±{EXPONENT_MAX}")
        number *= Fraction(10) ** exponent
    return (-number if sign == "-" else number), suffix


@lru_cache(maxsize=_CACHE_SIZE)
def parse(text: str) -> Fraction | int:
    """The exact value; an int where it is whole. Raises ``QuantityError``."""
    number, _ = _split(text)
    return number.numerator if number.denominator == 1 else number


def _round_up(number: Fraction | int) -> int:
    """Away from zero, as Kubernetes does."""
    return math.ceil(number) if number >= 0 else math.floor(number)


@lru_cache(maxsize=_CACHE_SIZE)
def milli(text: str) -> int:
    """Thousandths, rounded up: CPU. Raises ``QuantityError``."""
    return _round_up(parse(text) * 1000)


@lru_cache(maxsize=_CACHE_SIZE)
def whole(text: str) -> int:
    """Units, rounded up: bytes, pods, devices. Raises ``QuantityError``."""
    return _round_up(parse(text))


@lru_cache(maxsize=_CACHE_SIZE)
def canonical(text: str) -> str:
    """Kubernetes' canonical form: no fraction, the largest suffix of the same family that keeps it exact.

    ``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``, ``1000e3`` is ``1e6``. Finer than a nano is rounded up to one.
    """
    number, suffix = _split(text)
    if suffix in _BINARY and abs(number) >= 1024:
        return _binary_text(_round_up(number))
    nanos = _round_up(number * 10**9)
    if nanos == 0:
        return "0"
    mantissa, exponent = nanos, -9
    while mantissa % 1000 == 0 and (exponent < 18 or _is_exponent(suffix)):
        mantissa, exponent = mantissa // 1000, exponent + 3
    if _is_exponent(suffix):
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL_SUFFIX[exponent]}"


def _is_exponent(suffix: str) -> bool:
    return suffix not in _DECIMAL and suffix not in _BINARY


def _binary_text(number: int) -> str:
    found = ""
    for suffix, power in _BINARY.items():
        if number % 2**power:
            break
        found = suffix
    return f"{number >> _BINARY[found]}{found}" if found else str(number)
