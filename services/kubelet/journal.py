"""The start journal: one line of the log for each pod whose containers run, the first time and each time after."""

from __future__ import annotations

import logging

from services.kubelet.instructions import Journal
from services.kubelet.podstatus import NodeFacts

_log = logging.getLogger("services.kubelet.host")


def write(entry: Journal, node: NodeFacts) -> None:
    metadata = entry.pod.metadata
    _log.info(
        "pod restarted" if entry.restarted else "pod started",
        extra={
            "uid": metadata.uid,
            "tenant": metadata.tenant,
            "namespace": metadata.namespace,
            "pod": metadata.name,
            "node": node.name,
            "resource_partition": node.resource_partition,
            "partition": entry.partition,
        },
    )
