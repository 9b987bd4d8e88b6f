"""What a benchmark sees of its cluster while it runs, and how it is told.

``Observer`` samples every process and scrapes what servers and etcds export, at less than a hundredth of a core.
``collect_stages`` puts the pods' timelines together. Both are values
then, which ``document``, ``perfdash`` and ``page`` turn into JSON, perf-dash's file and one HTML page.
"""

from services.bench.observe.document import document
from services.bench.observe.observations import Component, Observations
from services.bench.observe.observer import Observer
from services.bench.observe.page import page
from services.bench.observe.perfdash import perfdash
from services.bench.observe.stages import Stages, Watched, collect_stages

__all__ = [
    "Component",
    "Observations",
    "Observer",
    "Stages",
    "Watched",
    "collect_stages",
    "document",
    "page",
    "perfdash",
]
