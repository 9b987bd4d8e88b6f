"""How long things take, and who is struck: what hollow nodes draw from. Written as people write it, parsed once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from services.base.rand import Rand

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
# No draw is longer: a tail without an end would make pods that never start.
LONGEST_S = 24 * 3600.0


def duration_s(text: str) -> float:
    """Seconds of ``100ms``, ``2s``, ``1.5m``, ``1h30m``; ``0`` needs no unit. Raises ``ValueError``."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: want a number and a unit, as in 100ms, 2s or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds to wait: ``fixed`` (``first``), ``uniform`` between the two, ``lognormal`` (``first`` is the median,
    ``second`` the sigma of the logarithm) or ``exp`` (``first`` is the mean)."""

    shape: Literal["fixed", "uniform", "lognormal", "exp"] = "fixed"
    first: float = 0.0
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """``100ms``, ``50ms-2s``, ``lognormal:200ms,0.5``, ``exp:1s``. Raises ``ValueError`` saying what is wrong."""
        shape, colon, arguments = text.partition(":")
        if colon and shape == "exp":
            return cls("exp", duration_s(arguments))
        if colon and shape == "lognormal":
            median, comma, sigma = arguments.partition(",")
            try:
                spread = float(sigma) if comma else math.nan
            except ValueError:
                spread = math.nan
            if not 0 <= spread <= 10:
                raise ValueError(f"{text!r}: want lognormal:<median>,<sigma from 0 to 10>, as in lognormal:200ms,0.5")
            return cls("lognormal", duration_s(median), spread)
        if colon:
            raise ValueError(f"{text!r}: {shape!r} is no distribution; there are lognormal: and exp:")
        least, dash, most = text.partition("-")
        if not dash:
            return cls("fixed", duration_s(least))
        low_s, high_s = duration_s(least), duration_s(most)
        if high_s < low_s:
            raise ValueError(f"{text!r}: the second duration is shorter than the first")
        return cls("uniform", low_s, high_s)

    @classmethod
    def between(cls, least_s: float, most_s: float) -> Distribution:
        return cls("fixed", least_s) if least_s == most_s else cls("uniform", least_s, most_s)

    def draw(self, rand: Rand) -> float:
        """Seconds, at least 0 and at most a day."""
        match self.shape:
            case "fixed":
                return self.first
            case "uniform":
                return rand.uniform(self.first, self.second)
            case "exp":
                return min(LONGEST_S, exponential_s(self.first, rand))
            case "lognormal":
                # Box and Muller: two uniform draws are one normal one.
                radius = math.sqrt(-2.0 * math.log(1.0 - rand.uniform(0.0, 1.0 - 1e-12)))
                normal = radius * math.cos(2.0 * math.pi * rand.uniform(0.0, 1.0))
                return min(LONGEST_S, self.first * math.exp(self.second * normal))


AT_ONCE = Distribution()


def exponential_s(mean_s: float, rand: Rand) -> float:
    """The pause before the next of events that come at random, one in ``mean_s`` seconds."""
    return -mean_s * math.log(1.0 - rand.uniform(0.0, 1.0 - 1e-12))


@dataclass(frozen=True, slots=True)
class Outage:
    """A share of the nodes is struck ``after_s`` seconds after the start, for ``for_s`` seconds (0: for good)."""

    share: float
    after_s: float = 0.0
    for_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Outage:
        """``1%,after=60s,for=600s``; the share may also be ``0.01``. Raises ``ValueError`` saying what is wrong."""
        first, *settings = text.split(",")
        given: dict[str, float] = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals or name not in ("after", "for") or name in given:
                raise ValueError(f"{text!r}: want <share>[,after=<duration>][,for=<duration>], as in 1%,after=60s")
            given[name] = duration_s(value)
        return cls(share_of(first), given.get("after", 0.0), given.get("for", 0.0))


def share_of(text: str) -> float:
    """``1%`` or ``0.01``; more than 0 and at most 1. Raises ``ValueError``."""
    percent = text.endswith("%")
    try:
        share = float(text.removesuffix("%")) / (100.0 if percent else 1.0)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no share: want a percentage above 0% and up to 100%, as in 1%")
    return share
