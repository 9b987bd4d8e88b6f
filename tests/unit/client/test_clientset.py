"""An answer that does not count is no answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.api.pb.ursa.core.v1.pod_service_pb2 import BatchRevokeBindResponse, PodRevocation
from services.api.pb.ursa.meta.v1.meta_pb2 import BatchResponse, DeleteRequest
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import BatchClaimResponse, CapacityClaim, ClaimRelease
from services.client.calls import is_retryable
from services.client.clientset import Clientset
from services.rpc.status import StatusError

CALLS: dict[str, tuple[Any, Callable[[Clientset], Awaitable[Any]]]] = {
    "BatchCreate": (BatchResponse, lambda c: c.pods.batch_create(iter([PODS.message(), PODS.message()]))),
    "BatchBind": (BatchResponse, lambda c: c.pods.batch_bind([Binding(), Binding()])),
    "BatchDelete": (BatchResponse, lambda c: c.pods.batch_delete([DeleteRequest(), DeleteRequest()])),
    "BatchRevokeBind": (
        BatchRevokeBindResponse,
        lambda c: c.pods.batch_revoke_bind([PodRevocation(), PodRevocation()]),
    ),
    "BatchClaim": (BatchClaimResponse, lambda c: c.capacity_claims.batch_claim([CapacityClaim(), CapacityClaim()])),
    "BatchRelease": (BatchResponse, lambda c: c.capacity_claims.batch_release([ClaimRelease(), ClaimRelease()])),
}


class Channel:
    """Answers every call with so many empty outcomes."""

    def __init__(self, answer: Any, outcomes: int) -> None:
        self._data = answer(outcomes=[{} for _ in range(outcomes)]).SerializeToString()

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, timeout: float, metadata: Any) -> Any:
            return response_deserializer(self._data)

        return call


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("outcomes", [0, 1, 3])
async def test_an_answer_without_an_outcome_per_item_is_an_error_after_which_one_may_ask_again(
    method: str, outcomes: int
) -> None:
    answer, call = CALLS[method]
    with pytest.raises(StatusError) as failure:
        await call(Clientset(Channel(answer, outcomes)))  # type: ignore[arg-type]
    assert failure.value.code is grpc.StatusCode.INTERNAL and is_retryable(failure.value)
    assert f"{outcomes} outcomes for 2 items of {method}" in failure.value.message


@pytest.mark.parametrize("method", CALLS)
async def test_an_outcome_per_item_is_given(method: str) -> None:
    answer, call = CALLS[method]
    assert len(await call(Clientset(Channel(answer, 2)))) == 2  # type: ignore[arg-type]
