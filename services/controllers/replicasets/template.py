"""The pods of a replica set, from its template. Pure but for the suffixes, which come from ``Rand``."""

from __future__ import annotations

from services.api.kinds import REPLICA_SETS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta, OwnerReference
from services.base.rand import Rand
from services.controllers.replicasets.facts import Wanted

# Upstream's names.SimpleNameGenerator.
SUFFIX_CHARACTERS = 5
NAME_CHARACTERS_MAX = 63


def reference(wanted: Wanted) -> OwnerReference:
    """What makes the replica set the controller of a pod."""
    return OwnerReference(
        api_version=REPLICA_SETS.api_version,
        kind=REPLICA_SETS.name,
        name=wanted.name,
        uid=wanted.uid,
        controller=True,
        block_owner_deletion=True,
    )


class PodMaker:
    """Makes pods that are alike but for their names. The name is chosen here and not by the server, so that a create
    whose answer was lost can be sent again: the pod that is there then is the one that was asked for."""

    def __init__(self, wanted: Wanted, rand: Rand) -> None:
        metadata = wanted.template.metadata
        self._prefix = f"{wanted.name}-"
        self._rand = rand
        self._pod = Pod(
            metadata=ObjectMeta(
                generate_name=self._prefix,
                tenant=wanted.tenant,
                namespace=wanted.namespace,
                labels=metadata.labels,
                annotations=metadata.annotations,
                finalizers=metadata.finalizers,
                owner_references=[reference(wanted)],
            ),
            spec=wanted.template.spec,
        )

    def make(self) -> Pod:
        pod = Pod()
        pod.CopyFrom(self._pod)
        pod.metadata.name = self.name()
        return pod

    def name(self) -> str:
        prefix = self._prefix[: NAME_CHARACTERS_MAX - SUFFIX_CHARACTERS]
        return prefix + self._rand.name_suffix(SUFFIX_CHARACTERS)
