"""ImageLocality: kube-scheduler's numbers, and an index of images that follows the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.scheduler.core import NodeId, NodeTable, PodClasses
from services.scheduler.core.images import ImageIndex, normalized
from services.scheduler.core.plugins.image_locality import ImageLocality
from tests.support.scheduling import make_node, make_pod

MB = 1024**2


def node_with(name: str, images: Mapping[str, int]) -> Node:
    """``images`` in MiB."""
    node = make_node(name)
    for image, size in images.items():
        node.status.images.add(names=[image, f"{image}@sha256:1"], size_bytes=size * MB)
    return node


def scores(nodes: Sequence[Node], *images: str, init: Sequence[str] = ()) -> list[int]:
    table = NodeTable(scheduler="s")
    for node in nodes:
        table.upsert("rp-1", node)
    pod = make_pod("p")
    del pod.spec.containers[:]
    for number, image in enumerate(images):
        pod.spec.containers.add(name=f"c{number}", image=image)
    for number, image in enumerate(init):
        pod.spec.init_containers.add(name=f"i{number}", image=image)
    columns = table.freeze().nodes
    raw = ImageLocality().raw(PodClasses().classify(pod), columns)
    row_of = {columns.ids[row]: row for row in range(len(columns)) if columns.alive[row]}
    return [0 if raw is None else int(raw[row_of[NodeId("rp-1", node.metadata.name)]]) for node in nodes]


# After kubernetes plugins/imagelocality/image_locality_test.go:
# 100 * (sum of size * spread - 23) / (1000 * images - 23).
NODE_403002000 = {"gcr.io/40:latest": 40, "gcr.io/300:latest": 300, "gcr.io/2000:latest": 2000}
NODE_25010 = {"gcr.io/250:latest": 250, "gcr.io/10:latest": 10}
NODE_60040900 = {"gcr.io/600:latest": 600, "gcr.io/40:latest": 40, "gcr.io/900:latest": 900}
NODE_300600900 = {"gcr.io/300:latest": 300, "gcr.io/600:latest": 600, "gcr.io/900:latest": 900}
NODE_400030 = {"gcr.io/4000:latest": 4000, "gcr.io/30:latest": 30}
NODE_203040: dict[str, int] = {"gcr.io/20:latest": 20, "gcr.io/30:latest": 30, "gcr.io/40:latest": 40}


@pytest.mark.parametrize(
    ("images", "nodes", "expected"),
    [
        (("gcr.io/40", "gcr.io/250"), (NODE_403002000, NODE_25010), [0, 5]),
        (("gcr.io/40", "gcr.io/300"), (NODE_403002000, NODE_25010), [7, 0]),
        (("gcr.io/10", "gcr.io/2000"), (NODE_403002000, NODE_25010), [49, 0]),
        (("gcr.io/300", "gcr.io/600", "gcr.io/900"), (NODE_60040900, NODE_300600900, {}), [32, 36, 0]),
        (("gcr.io/30", "gcr.io/4000"), (NODE_400030, NODE_203040, {}), [67, 0, 0]),
    ],
)
def test_upstreams_formula(images: Sequence[str], nodes: Sequence[Mapping[str, int]], expected: list[int]) -> None:
    assert scores([node_with(f"n{index}", held) for index, held in enumerate(nodes)], *images) == expected


def test_init_containers_count_too() -> None:
    nodes = [node_with("a", NODE_403002000), node_with("b", NODE_203040)]
    assert scores(nodes, "gcr.io/40", init=["gcr.io/300"]) == [8, 0]


def test_images_that_no_node_has_leave_all_nodes_equal() -> None:
    assert scores([node_with("a", {"x:1": 500}), node_with("b", {})], "y:1") == [0, 0]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx:latest"),
        ("nginx:1.2", "nginx:1.2"),
        ("host:5000/nginx", "host:5000/nginx:latest"),
        ("host:5000/nginx:1", "host:5000/nginx:1"),
    ],
)
def test_a_name_without_a_tag_means_latest(image: str, name: str) -> None:
    assert normalized(image) == name


@given(
    st.lists(st.tuples(st.integers(0, 3), st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), st.booleans()))
)
def test_a_frozen_index_keeps_what_it_knew(changes: list[tuple[int, dict[str, int], bool]]) -> None:
    index, now = ImageIndex(), {row: dict[str, int]() for row in range(4)}
    taken = []
    for row, images, freeze in changes:
        index.replace(row, now[row], images)
        now[row] = images
        if freeze:
            taken.append((index.freeze(), {row: dict(held) for row, held in now.items()}))
    for found, expected in [*taken, (index.freeze(), now)]:
        for image in "abc":
            assert found.sizes(image) == {row: held[image] for row, held in expected.items() if image in held}
