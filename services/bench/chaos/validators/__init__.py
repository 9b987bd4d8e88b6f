"""The guarantees of docs/robustness.md ("Chaos"), a module and a pure function each: from a history to violations.

No violation: a correct cluster could have produced the history, as far as this guarantee goes. A validator that finds
nothing to judge says so as a violation: none passes by being blind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from services.bench.chaos.history import History
from services.bench.chaos.validators.claims_right import claims_right
from services.bench.chaos.validators.come_back import come_back
from services.bench.chaos.validators.evicted_eventually import evicted_eventually
from services.bench.chaos.validators.no_wrong_eviction import no_wrong_eviction
from services.bench.chaos.validators.nothing_lost import nothing_lost
from services.bench.chaos.validators.ordered_status import ordered_status
from services.bench.chaos.validators.resumable import resumable
from services.bench.chaos.validators.runs_once import runs_once
from services.bench.chaos.validators.violation import Violation

Validator = Callable[[History], Iterator[Violation]]

VALIDATORS: Mapping[str, Validator] = {
    "NothingLost": nothing_lost,
    "RunsOnce": runs_once,
    "NoWrongEviction": no_wrong_eviction,
    "EvictedEventually": evicted_eventually,
    "ComeBack": come_back,
    "ClaimsRight": claims_right,
    "OrderedStatus": ordered_status,
    "Resumable": resumable,
}

__all__ = ["VALIDATORS", "Validator", "Violation"]
