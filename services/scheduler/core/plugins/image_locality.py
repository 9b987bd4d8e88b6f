"""ImageLocality: prefers nodes that have the pod's images already, the more so the more nodes have them."""

from __future__ import annotations

import numpy as np

from services.scheduler.core.arrays import Ints
from services.scheduler.core.images import normalized
from services.scheduler.core.nodes import NodeColumns
from services.scheduler.core.plugin import SCORE_MAX, NodeScore, Normalization
from services.scheduler.core.pods import PodClass

BYTES_MIN = 23 * 1024**2
CONTAINER_BYTES_MAX = 1000 * 1024**2


class ImageLocality(NodeScore):
    """kubernetes plugins/imagelocality. An image counts with its size on that very node (upstream: on the first one
    that reported it), times the part of all nodes that have it, so that pods do not all run after the first pull."""

    name = "ImageLocality"
    normalization = Normalization.NONE

    def raw(self, pods: PodClass, nodes: NodeColumns) -> Ints | None:
        spec = pods.pod.spec
        images = [normalized(container.image) for container in (*spec.init_containers, *spec.containers)]
        if not any(nodes.images.sizes(image) for image in images):
            return None
        total: Ints = np.zeros(len(nodes), dtype=np.int64)
        for image in images:
            nodes.images.add_sizes(image, nodes.count, total)
        limit = CONTAINER_BYTES_MAX * len(images)
        score: Ints = SCORE_MAX * (np.clip(total, BYTES_MIN, limit) - BYTES_MIN) // (limit - BYTES_MIN)
        return score
