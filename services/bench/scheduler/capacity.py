"""Whether any node holds more than it has: asked of the nodes as they are, and of what was placed on them."""

from __future__ import annotations

from services.bench.scheduler.access import Access
from services.bench.scheduler.binds import BindLog, Node
from services.placement import nodes as placement
from services.placement import resources


async def overcommitted(access: Access, log: BindLog) -> list[str]:
    """What is too much, a line per node. Raises ``StatusError``. Only pods that this client created are counted."""
    taken: dict[Node, dict[str, int]] = {}
    for key, home in log.nodes.items():
        created = log.created.get(key)
        if created is not None:
            resources.add(taken.setdefault(home, {}), created.shape.requests)
    found = []
    for target in access.resources:
        for node in (await target.clients.nodes.list(resource_version=0)).items:
            here = taken.pop((target.partition, node.metadata.name), None)
            has = placement.allocatable(node) if here else {}
            for name, amount in (here or {}).items():
                if amount > has.get(name, 0):
                    where = f"{target.partition}/{node.metadata.name}"
                    found.append(f"{where} holds {amount} of {name} and has {has.get(name, 0)}")
    return found
