"""Times and durations of ``ursa logs``, and where a kubelet is reached."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import SystemClock
from services.cli.errors import Refused, UsageError
from services.cli.logs_command import _since
from services.cli.verbs.logs import _prefixed, endpoint_of


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("2m", 120), ("1h30m", 5400), ("1.5h", 5400), ("200ms", 0.2)])
def test_a_duration_is_counted_back_from_now(text: str, seconds: float) -> None:
    found = _since(text, "")
    assert found is not None
    assert abs(SystemClock().time() - seconds - found / 1e9) < 5


def test_a_time_is_taken_as_it_is() -> None:
    assert _since("", "2026-01-01T00:00:00Z") == 1_767_225_600_000_000_000
    assert _since("", "2026-01-01T01:00:00+01:00") == 1_767_225_600_000_000_000
    assert _since("", "") is None


def test_a_time_before_all_logs_is_all_of_them() -> None:
    assert _since("1000000h", "") == _since("", "1969-07-20T20:17:40Z") == 0


@pytest.mark.parametrize(
    ("duration", "moment"), [("5", ""), ("soon", ""), ("", "yesterday"), ("", "2026-01-01T00:00:00")]
)
def test_what_is_no_time_is_refused(duration: str, moment: str) -> None:
    with pytest.raises(UsageError, match=r"is no|names no time zone"):
        _since(duration, moment)


def node(port: int, **addresses: str) -> Node:
    made = Node()
    made.metadata.name = "n1"
    for kind, address in addresses.items():
        made.status.addresses.add(type=kind, address=address)
    if port:
        made.status.daemon_endpoints.kubelet_endpoint.port = port
    return made


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ({"Hostname": "n1", "InternalIP": "10.0.0.1"}, "10.0.0.1:7100"),
        ({"Hostname": "n1"}, "n1:7100"),
        ({"InternalIP": "fd00::1"}, "[fd00::1]:7100"),
    ],
)
def test_a_kubelet_is_where_its_node_says(addresses: dict[str, str], expected: str) -> None:
    assert endpoint_of(node(7100, **addresses), Pod()) == expected


def test_a_node_that_says_nothing_is_refused() -> None:
    with pytest.raises(Refused, match=r"node n1 of pod .* does not tell where its kubelet is reached"):
        endpoint_of(node(0, InternalIP="10.0.0.1"), Pod())


def test_a_prefix_stands_before_each_line_once() -> None:
    assert _prefixed(b"a\nb\r50%\n", b"> ", True) == b"> a\n> b\r50%\n"
    assert _prefixed(b"rest\nb", b"> ", False) == b"rest\n> b"
