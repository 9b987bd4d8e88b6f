"""Errors keep everything they say on their way through ``google.rpc.Status``."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from services.rpc import status
from services.rpc.status import StatusError, Violation


@pytest.mark.parametrize(
    "error",
    [
        status.not_found("pods", "web-1"),
        status.already_exists("pods", "web-1"),
        status.conflict("pods", "web-1", "the object has changed", current_rv=17),
        status.invalid([Violation("spec.containers[0].image", "Required value")], subject='pods "web-1"'),
        status.expired("too old", metadata={"continue": "token"}),
        status.unavailable("etcd is down", retry_after_s=2.5),
        status.resource_exhausted("TooManyRequests", "full", retry_after_s=1.0),
        status.wrong_partition("acme", "tp-2", "127.0.0.1:7120"),
    ],
    ids=lambda error: error.reason,
)
def test_an_error_survives_the_wire(error: StatusError) -> None:
    copy = status.from_status(error.to_status())
    assert (copy.code, copy.reason, copy.message) == (error.code, error.reason, error.message)
    assert (copy.violations, copy.metadata) == (error.violations, error.metadata)
    assert copy.retry_after_s == error.retry_after_s


def test_a_conflict_names_the_current_resource_version() -> None:
    assert status.from_status(status.conflict("pods", "a", "changed", current_rv=17).to_status()).current_rv == 17
    assert status.conflict("pods", "a", "gone").current_rv is None


def test_a_thousand_violations_still_fit_into_trailers() -> None:
    violations = [Violation(f"spec.containers[{n}].image", "x" * 100) for n in range(1000)]
    encoded = status.invalid(violations).to_status().SerializeToString()
    assert len(encoded) < 7 * 1024
    last = status.from_status(status.invalid(violations).to_status()).violations[-1]
    assert last.description.startswith("and ")


def test_text_that_has_no_encoding_is_told_with_question_marks() -> None:
    error = StatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "Invalid",
        "\ud800 is no label",
        violations=[Violation("metadata.labels[\ud800]", "\udc00é")],
        metadata={"name": "\ud800"},
    )
    copy = status.from_status(error.to_status())
    assert (copy.message, copy.metadata) == ("? is no label", {"name": "?"})
    assert copy.violations == (Violation("metadata.labels[?]", "?é"),)


def test_a_failure_of_grpc_itself_gets_a_reason() -> None:
    empty = grpc.aio.Metadata()
    error = status.from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, "refused"))
    assert (error.reason, error.message, error.retry_after_s) == ("ServiceUnavailable", "refused", 1.0)
