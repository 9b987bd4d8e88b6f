"""CapacityClaims/BatchClaim and CapacityClaims/BatchRelease: the requests, and the answers in their order.

An item is answered once it is on disk. An item whose outcome is not known (a store that cannot be reached, a lost
answer) has state STATE_UNSPECIFIED and the failure's status: send it again, and release nothing before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from services.api.kinds import CAPACITY_CLAIMS
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import (
    BatchClaimResponse,
    BatchReleaseRequest,
    CapacityClaim,
    ClaimOutcome,
    ClaimRelease,
)
from services.apiserver import limits, metrics, objects, tracing
from services.apiserver.errors import translate
from services.base import telemetry
from services.resource_partition import claimmetrics, claimwire
from services.resource_partition.claimdesks import ClaimDesks
from services.resource_partition.claimplan import Known, Verdict, pod_of
from services.resource_partition.claimrequests import (
    ClaimReader,
    WantedClaim,
    claim_faults,
    complete,
    release_faults,
)
from services.resource_partition.claimslips import Sheet, Slip
from services.resource_partition.claimwire import PlainClaim
from services.rpc import status
from services.rpc.handlers import Context
from services.rpc.status import StatusError
from services.storage.errors import StorageError

_NOBODY: tuple[str, ...] = ()

CLAIM_SPAN = "ursa.capacity.claim"
RELEASE_SPAN = "ursa.capacity.release"

_OUTCOMES: Mapping[int, str] = {
    ClaimOutcome.HELD: "held",
    ClaimOutcome.PROMISED: "promised",
    ClaimOutcome.REFUSED: "refused",
    ClaimOutcome.STATE_UNSPECIFIED: "unknown",
}


class CapacityClaimsServicer:
    def __init__(self, desks: ClaimDesks) -> None:
        self._desks = desks
        self._reader = ClaimReader()

    async def batch_claim(self, request: bytes, context: Context) -> bytes:
        claims = self._reader.read(request)
        parent = tracing.parent_of(context)
        with telemetry.span(CLAIM_SPAN, parent=parent) if parent else nullcontext():
            return await self._claim(claims)

    async def batch_release(self, request: bytes, context: Context) -> bytes:
        wanted = objects.parse_request(BatchReleaseRequest, request)
        parent = tracing.parent_of(context)
        with telemetry.span(RELEASE_SPAN, parent=parent) if parent else nullcontext():
            return await self._release(wanted.releases)

    async def _claim(self, claims: Sequence[WantedClaim]) -> bytes:
        metrics.BATCH_ITEMS.labels(CAPACITY_CLAIMS.resource).inc(len(claims))
        self._desks.check_room(len(claims))
        desks = self._desks
        sheet = Sheet()
        slips: list[Slip | StatusError] = []
        for index, claim in enumerate(claims):
            if index % limits.ITEMS_PER_TURN == limits.ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
            if isinstance(claim, PlainClaim):
                # A node that has a desk has a sound name.
                faults = [] if desks.knows(claim.node_name) else claim_faults(claim.message(), f"claims[{index}]")
                node, replaces = claim.node_name, _NOBODY
            else:
                complete(claim)
                faults = claim_faults(claim, f"claims[{index}]")
                node, replaces = claim.spec.node_name, tuple(claim.spec.replaces)
            if faults:
                slips.append(status.invalid(faults, subject=f'the claim of pod "{pod_of(claim)}"'))
                continue
            slip = sheet.slip(claim, replaces)
            slips.append(slip)
            desks.put(node, slip)
        await sheet.answered()
        outcomes: list[bytes] = []
        counts: Counter[int] = Counter()
        for claim, found in zip(claims, slips, strict=True):
            state, node, epoch, refusal = verdict = _verdict(claim, found)
            counts[state] += 1
            if refusal is None:
                outcomes.append(claimwire.granted(pod_of(claim), state, node, epoch))
            else:
                outcomes.append(_refused(pod_of(claim), verdict, refusal))
        for state, count in counts.items():
            claimmetrics.CLAIMS.labels(_OUTCOMES[state]).inc(count)
        return b"".join(outcomes)

    async def _release(self, releases: Sequence[ClaimRelease]) -> bytes:
        metrics.BATCH_ITEMS.labels(CAPACITY_CLAIMS.resource).inc(len(releases))
        self._desks.check_room(len(releases))
        sheet = Sheet()
        found: list[Slip | BaseException | None] = [None] * len(releases)
        unknown: list[int] = []
        for index, release in enumerate(releases):
            faults = release_faults(release, f"releases[{index}]")
            if faults:
                found[index] = status.invalid(faults, subject=f'the release of pod "{release.pod_uid}"')
                continue
            found[index] = self._put(release, self._desks.lookup(release.pod_uid), sheet)
            if found[index] is None:
                unknown.append(index)
        # What the cache does not show may be there all the same.
        reads = await asyncio.gather(
            *(self._desks.read(releases[index].pod_uid) for index in unknown), return_exceptions=True
        )
        for index, read in zip(unknown, reads, strict=True):
            found[index] = read if isinstance(read, BaseException) else self._put(releases[index], read, sheet)
        await sheet.answered()
        response = BatchResponse()
        failed = 0
        for release, put in zip(releases, found, strict=True):
            answer = put.answer if isinstance(put, Slip) else put
            if answer is None:
                response.outcomes.add(name=release.pod_uid)
                continue
            failed += 1
            response.outcomes.add(name=release.pod_uid, status=_error(answer).to_status())
        claimmetrics.RELEASES.labels("ended").inc(len(releases) - failed)
        claimmetrics.RELEASES.labels("refused").inc(failed)
        return response.SerializeToString()

    def _put(self, release: ClaimRelease, known: Known, sheet: Sheet) -> Slip | None:
        """None: the pod has no claim."""
        if known.claim is None:
            return None
        slip = sheet.slip(release)
        self._desks.put(known.claim.spec.node_name, slip)
        return slip


def _verdict(claim: WantedClaim, found: Slip | StatusError) -> Verdict:
    if isinstance(found, Slip) and isinstance(found.answer, Verdict):
        return found.answer
    spec = claim.spec if isinstance(claim, CapacityClaim) else claim
    if isinstance(found, StatusError):
        return Verdict(ClaimOutcome.REFUSED, spec.node_name, spec.bind_epoch, found)
    return Verdict(ClaimOutcome.STATE_UNSPECIFIED, spec.node_name, spec.bind_epoch, _error(found.answer))


def _refused(pod_uid: str, verdict: Verdict, refusal: StatusError) -> bytes:
    response = BatchClaimResponse()
    response.outcomes.add(
        pod_uid=pod_uid,
        state=verdict.state,
        node_name=verdict.node_name,
        bind_epoch=verdict.bind_epoch,
        status=refusal.to_status(),
    )
    return response.SerializeToString()


def _error(failure: object) -> StatusError:
    """Raises ``failure`` itself when it is a bug."""
    if isinstance(failure, StatusError):
        return failure
    error = translate(CAPACITY_CLAIMS, failure) if isinstance(failure, StorageError) else None
    if error is None:
        raise failure if isinstance(failure, BaseException) else AssertionError(f"no answer: {failure!r}")
    return error
