"""The guarantees of docs/semantics.md, one module and one pure function each: from evidence to violations, as text.

No violation: the history is one that a correct server could have produced, as far as this guarantee goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.robustness.evidence import Evidence
from tests.robustness.validators.atomic import atomic
from tests.robustness.validators.bookmarkable import bookmarkable
from tests.robustness.validators.durable import durable
from tests.robustness.validators.filterable import filterable
from tests.robustness.validators.followed import followed
from tests.robustness.validators.isolated import isolated
from tests.robustness.validators.linearizable import linearizable
from tests.robustness.validators.ordered import ordered
from tests.robustness.validators.paged import paged
from tests.robustness.validators.reliable import reliable
from tests.robustness.validators.resumable import resumable
from tests.robustness.validators.sound import sound
from tests.robustness.validators.unique import unique

Validator = Callable[[Evidence], Iterator[str]]

VALIDATORS: Mapping[str, Validator] = {
    "Ordered": ordered,
    "Unique": unique,
    "Atomic": atomic,
    "Reliable": reliable,
    "Resumable": resumable,
    "Bookmarkable": bookmarkable,
    "Filterable": filterable,
    "Isolated": isolated,
    "Linearizable": linearizable,
    "Paged": paged,
    "Durable": durable,
    "Followed": followed,
    "Sound": sound,
}
