"""The scheduler's decisions: a columnar node table, filters and scores as NumPy vectors, and the plan.

Everything here is synchronous, does no I/O and is deterministic: the same snapshot, pods and seed give the same plan.
A plug-in is one file under ``plugins`` that implements one of the shapes of ``plugin``.
"""

from services.scheduler.core.nodes import NodeColumns, NodeId
from services.scheduler.core.plan import Placement, Plan, Unschedulable, plan
from services.scheduler.core.pods import PodClass, PodClasses, PodInfo
from services.scheduler.core.profile import DEFAULT_PROFILE, Profile, Profiles
from services.scheduler.core.snapshot import Snapshot
from services.scheduler.core.table import NodeTable

__all__ = [
    "DEFAULT_PROFILE",
    "NodeColumns",
    "NodeId",
    "NodeTable",
    "Placement",
    "Plan",
    "PodClass",
    "PodClasses",
    "PodInfo",
    "Profile",
    "Profiles",
    "Snapshot",
    "Unschedulable",
    "plan",
]
