"""createNodes: Node objects, straight in the resource partitions, spread evenly over them.

Upstream creates the nodes and then patches each, in the order of their names, with the strategy's label or
allocatable. Names are known here beforehand, so that the nodes are created as the patch would leave them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.api.kinds import NODES
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.ids import random_uid
from services.bench.scheduler import templates
from services.bench.scheduler.base_objects import base_node
from services.bench.scheduler.errors import FileError, NotSupported, WorkloadFailed
from services.bench.scheduler.fields import Fields
from services.bench.scheduler.opcodes.operation import Operation
from services.bench.scheduler.params import Params
from services.rpc.status import StatusError

if TYPE_CHECKING:
    from services.bench.scheduler.world import World

BATCH_NODES = 500
HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class CreateNodes(Operation):
    """``labels``: (key, values), given in turn to the nodes in the order of their names. ``unique_label``: a key whose
    value is different for every node. ``allocatable``: set beside the capacity."""

    opcode = "createNodes"
    count: int | str
    template: pathlib.Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, tuple[str, ...]] | None = None
    unique_label: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> CreateNodes:
        made = cls(
            count=fields.counted("count"),
            template=fields.path("nodeTemplatePath"),
            values=fields.mapping("templateParams"),
            labels=_label_strategy(fields.nested("labelNodePrepareStrategy")),
            unique_label=_unique_strategy(fields.nested("uniqueNodeLabelStrategy")),
            allocatable=_allocatable_strategy(fields.nested("nodeAllocatableStrategy")),
        )
        if sum(map(bool, (made.labels, made.unique_label, made.allocatable))) > 1:
            raise FileError(f"{fields.where}: at most one strategy")
        return made

    def resolved(self, params: Params, default_pod_template: pathlib.Path | None) -> list[Operation]:
        return [replace(self, count=params.integer(self.count), values=params.resolved(self.values))]

    def check(self) -> None:
        if self.template is not None:
            templates.load(self.template).check(NODES, {**self.values, "Index": 0, "Count": self.count})

    async def run(self, world: World, index: int) -> None:
        world.say(f"creating {self.count} nodes")
        nodes = self.nodes(f"node-{index}-", world)
        resources = world.access.resources
        for number, target in enumerate(resources):
            share = nodes[number :: len(resources)]
            for start in range(0, len(share), BATCH_NODES):
                try:
                    outcomes = await target.clients.nodes.batch_create(share[start : start + BATCH_NODES])
                except StatusError as failure:
                    raise WorkloadFailed(f"creating nodes in {target.partition}: {failure}") from failure
                for outcome in outcomes:
                    if outcome.status is not None:
                        raise WorkloadFailed(f"node {outcome.name}: {outcome.status}")

    def nodes(self, prefix: str, world: World) -> list[Node]:
        """All nodes, in the order of their names."""
        assert isinstance(self.count, int)
        made = [self._named(self._node(prefix, index), world) for index in range(self.count)]
        made.sort(key=lambda node: node.metadata.name)
        for node, (key, value) in zip(made, self._marks(), strict=False):
            node.metadata.labels[key] = value
        for node in made:
            node.status.allocatable.update(self.allocatable)
            for name, quantity in node.status.capacity.items() if self.allocatable else ():
                if name not in node.status.allocatable:
                    node.status.allocatable[name] = quantity
        return made

    def _node(self, prefix: str, index: int) -> Node:
        if self.template is None:
            return base_node(prefix)
        node = Node()
        values = {**self.values, "Index": index, "Count": self.count}
        node.CopyFrom(templates.load(self.template).message(NODES, values))
        return node

    @staticmethod
    def _named(node: Node, world: World) -> Node:
        metadata = node.metadata
        while not metadata.name or metadata.name in world.node_names:
            if metadata.name and not metadata.generate_name:
                raise WorkloadFailed(f"two nodes are called {metadata.name}")
            metadata.name = metadata.generate_name + world.rand.name_suffix()
        metadata.generate_name = ""
        world.node_names.add(metadata.name)
        metadata.labels[HOSTNAME] = metadata.name
        return node

    def _marks(self) -> Iterator[tuple[str, str]]:
        number = 0
        while self.labels is not None:
            key, values = self.labels
            yield key, values[number % len(values)]
            number += 1
        while self.unique_label:
            yield self.unique_label, random_uid()


def _label_strategy(fields: Fields | None) -> tuple[str, tuple[str, ...]] | None:
    if fields is None:
        return None
    strategy = fields.text("labelKey"), fields.texts("labelValues")
    fields.done()
    if not all(strategy):
        raise FileError(f"{fields.where}: wants labelKey and labelValues")
    return strategy


def _unique_strategy(fields: Fields | None) -> str:
    if fields is None:
        return ""
    key = fields.text("labelKey")
    fields.done()
    if not key:
        raise FileError(f"{fields.where}: wants labelKey")
    return key


def _allocatable_strategy(fields: Fields | None) -> dict[str, str]:
    if fields is None:
        return {}
    quantities = {name: str(quantity) for name, quantity in fields.mapping("nodeAllocatable").items()}
    if fields.mapping("csiNodeAllocatable") or fields.texts("migratedPlugins"):
        raise NotSupported("nodeAllocatableStrategy: Ursa has no CSI volumes")
    fields.done()
    return quantities
