"""ClaimsRight: in the end every node's ledger is the sum of the requests of the live pods that are bound to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from services.bench.chaos.facts import FinalClaim, FinalNode, FinalPod, FinalRead
from services.bench.chaos.history import TERMINAL, History
from services.bench.chaos.validators.violation import Violation


def claims_right(history: History) -> Iterator[Violation]:
    nodes = history.of(FinalNode)
    if not nodes or not any(one.resource == "capacityclaims" for one in history.of(FinalRead)):
        yield Violation("neither ledgers nor claims were read in the end: there is nothing to judge")
    pods = {pod.uid: pod for pod in history.of(FinalPod) if pod.node and pod.phase not in TERMINAL}
    claims: dict[str, FinalClaim] = {}
    for claim in history.of(FinalClaim):
        if claim.uid in claims:
            yield Violation(f"a claim on {claim.node} and one on {claims[claim.uid].node}", claim.uid, claim.node)
        claims[claim.uid] = claim
        yield from _has_its_pod(claim, pods.get(claim.uid))
    for pod in pods.values():
        if pod.uid not in claims:
            yield Violation(f"{pod.key} is bound to {pod.node} without a claim", pod.uid, pod.node)
    for node in nodes:
        yield from _ledger(node, [pod for pod in pods.values() if pod.node == node.node])


def _has_its_pod(claim: FinalClaim, pod: FinalPod | None) -> Iterator[Violation]:
    if pod is None:
        yield Violation(f"a claim on {claim.node} without a live pod", claim.uid, claim.node)
    elif pod.node != claim.node or pod.partition != claim.partition:
        text = (
            f"{pod.key} of {pod.partition} is bound to {pod.node}, its claim is on {claim.node} for {claim.partition}"
        )
        yield Violation(text, pod.uid, claim.node)
    elif _nonzero(pod.requests) != _nonzero(claim.requests):
        yield Violation(f"{pod.key} requests {pod.requests}, its claim holds {claim.requests}", pod.uid, pod.node)


def _ledger(node: FinalNode, pods: list[FinalPod]) -> Iterator[Violation]:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    counts: dict[str, int] = defaultdict(int)
    for pod in pods:
        counts[pod.partition] += 1
        for resource, amount in pod.requests.items():
            sums[pod.partition][resource] += amount
    for partition in sorted({*sums, *counts, *node.claimed, *node.pods}):
        has, should = _nonzero(node.claimed.get(partition, {})), _nonzero(sums.get(partition, {}))
        if has != should:
            yield Violation(f"the ledger of {node.node} holds {has} for {partition}, its pods {should}", node=node.node)
        if node.pods.get(partition, 0) != counts.get(partition, 0):
            text = f"{node.pods.get(partition, 0)} claims of {partition}, there are {counts.get(partition, 0)} pods"
            yield Violation(f"the ledger of {node.node} counts {text}", node=node.node)
    if node.promises:
        yield Violation(f"the ledger of {node.node} still has {node.promises} promises", node=node.node)


def _nonzero(amounts: Mapping[str, int]) -> dict[str, int]:
    return {resource: amount for resource, amount in amounts.items() if amount}
