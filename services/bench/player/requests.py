"""What is sent: requests with their due times, the templates of what they create, and the steps they come in.
Values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

BATCH_MAX = 1000

Seconds = Annotated[float, msgspec.Meta(ge=0)]


Key = tuple[str, str, str, str | int]


class Verb(StrEnum):
    CREATE = "create"
    SCALE = "scale"
    UPDATE = "update"
    DELETE = "delete"


class Resource(StrEnum):
    """What a request is about; the names are those of the kinds table."""

    PODS = "pods"
    REPLICA_SETS = "replicasets"
    SERVICES = "services"
    ENDPOINT_SLICES = "endpointslices"


class Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One API call. ``at_s``: seconds after its step began, in a recording after the run began.

    ``count`` 0: about the one object ``name``. Else about the pods ``<name>-<first>`` to ``<name>-<first + count -
    1>``, in one batch if there are several. ``replicas``: of what is created or scaled. ``lifetimes_s``: one per pod
    that is created; such a pod ends by itself after so long, one of 0 runs on; empty: all run on.
    """

    at_s: Seconds = msgspec.field(name="t")
    step: str = msgspec.field(name="step")
    verb: Verb = msgspec.field(name="verb")
    resource: Resource = msgspec.field(name="of")
    tenant: str = msgspec.field(name="tenant")
    namespace: str = msgspec.field(name="ns")
    name: str = msgspec.field(name="name")
    template: str = msgspec.field(name="template", default="")
    first: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="first", default=0)
    count: Annotated[int, msgspec.Meta(ge=0, le=BATCH_MAX)] = msgspec.field(name="count", default=0)
    replicas: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="replicas", default=0)
    lifetimes_s: tuple[Seconds, ...] = msgspec.field(name="lifetimes", default=())

    @property
    def names(self) -> list[str]:
        """The names of the objects that it is about."""
        if not self.count:
            return [self.name]
        return [pod_name(self.name, index) for index in range(self.first, self.first + self.count)]

    @property
    def keys(self) -> list[Key]:
        """One for each object. Of two requests about one object the later waits for the answer of the earlier."""
        if not self.count:
            return [(self.tenant, self.namespace, self.resource, self.name)]
        return [(self.tenant, self.namespace, self.name, self.first + index) for index in range(self.count)]


def pod_name(prefix: str, index: int) -> str:
    return f"{prefix}-{index:07d}"


class Template(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A pod of one pause container. ``padding_bytes``: so much larger than it need be (an annotation)."""

    cpu: str = "100m"
    memory: str = "500Mi"
    padding_bytes: Annotated[int, msgspec.Meta(ge=0, le=200_000)] = 0


class Settling(StrEnum):
    """What a step waits for after its last answer: nothing, or until exactly the wanted pods exist and have run."""

    NONE = "none"
    PODS = "pods"


class Step(msgspec.Struct, frozen=True):
    """Requests in the order of their due times. ``paced``: sent when due; else as fast as they go, so many at a time.

    ``pods``: how many there are to be after it (ended ones are there until deleted). ``hold_s``: nothing is done for so
    long after that.
    """

    name: str
    requests: Sequence[Request]
    paced: bool = True
    settling: Settling = Settling.PODS
    pods: int = 0
    hold_s: float = 0.0

    @property
    def objects(self) -> int:
        return sum(max(1, request.count) for request in self.requests)


class Place(msgspec.Struct, frozen=True):
    """A namespace of a tenant that is placed on ``partition``."""

    partition: str
    tenant: str
    namespace: str


class Scenario(msgspec.Struct, frozen=True):
    """A whole run: what is to be there before, and the steps one after the other."""

    places: tuple[Place, ...]
    templates: dict[str, Template]
    steps: tuple[Step, ...]
