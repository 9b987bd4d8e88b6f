"""Density: as many pods per node as asked for, then latency pods while the cluster is full, then all of it away again.

The model is Kubernetes' density test (test/e2e/scalability/density.go, clusterloader2 testing/density): saturate, hold,
then one latency pod per node at an even pace, each of which asks for more than half a node, so that no two of them
share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.base.rand import Rand
from services.bench.player.pacing import Lifetimes, batches, due_s, in_turn
from services.bench.player.requests import Place, Request, Resource, Scenario, Step, Template, Verb

SATURATE, LATENCY, DELETE = "saturate", "latency", "delete"
PAUSE, LARGE = "pause", "latency"


@dataclass(frozen=True)
class DensityParameters:
    """``pods``: in all while saturating. ``rate``: pods per second, 0: as fast as it goes. ``latency_cpu``: what a
    latency pod asks for. ``short_lived``: the share of saturation pods that end by themselves, after
    ``lifetime_s`` on average. ``hold_s``: rest between saturation and latency pods."""

    pods: int
    rate: float = 0.0
    create_batch: int = 1
    hold_s: float = 0.0
    latency_pods: int = 0
    latency_rate: float = 10.0
    latency_cpu: str = "16100m"
    short_lived: float = 0.0
    lifetime_s: float = 30.0
    delete: bool = False


def scenario(parameters: DensityParameters, places: tuple[Place, ...], rand: Rand) -> Scenario:
    """The schedule, the same for the same seed."""
    lifetimes = Lifetimes(parameters.short_lived, parameters.lifetime_s, rand)
    saturate = _creates(SATURATE, PAUSE, parameters.pods, parameters.rate, parameters.create_batch, places, lifetimes)
    pods = parameters.pods
    steps = [Step(SATURATE, saturate, paced=bool(parameters.rate), pods=pods, hold_s=parameters.hold_s)]
    made = list(saturate)
    if parameters.latency_pods:
        long = Lifetimes(0.0, 1.0, rand)
        latency = _creates(LATENCY, LARGE, parameters.latency_pods, parameters.latency_rate, 1, places, long)
        pods += parameters.latency_pods
        steps.append(Step(LATENCY, latency, paced=bool(parameters.latency_rate), pods=pods))
        made += latency
    if parameters.delete:
        steps.append(Step(DELETE, _deletes(made, parameters.rate), paced=bool(parameters.rate)))
    templates = {PAUSE: Template(), LARGE: Template(cpu=parameters.latency_cpu)}
    return Scenario(places, templates, tuple(steps))


def _creates(
    step: str, template: str, pods: int, rate: float, batch: int, places: Sequence[Place], lifetimes: Lifetimes
) -> list[Request]:
    return [
        Request(
            at_s=due_s(first, rate),
            step=step,
            verb=Verb.CREATE,
            resource=Resource.PODS,
            tenant=place.tenant,
            namespace=place.namespace,
            name=step,
            template=template,
            first=first,
            count=count,
            lifetimes_s=lifetimes.draw(count),
        )
        for number, (first, count) in enumerate(batches(pods, batch))
        for place in (in_turn(places, number),)
    ]


def _deletes(made: Sequence[Request], rate: float) -> list[Request]:
    found, pods = [], 0
    for request in made:
        found.append(
            Request(
                at_s=due_s(pods, rate),
                step=DELETE,
                verb=Verb.DELETE,
                resource=Resource.PODS,
                tenant=request.tenant,
                namespace=request.namespace,
                name=request.name,
                first=request.first,
                count=request.count,
            )
        )
        pods += request.count
    return found
