"""Channels: how every client of Ursa reaches the servers of one partition."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import grpc

from services.rpc.credentials import TlsConfig, channel_credentials

# One message is at most an object of 1 MiB, a list part or a watch message of about that; batches are 4 MiB at most.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Each channel has its own connection: a second channel is how clients keep bulk away from live events.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # The core waits this long for the answer to any ping, a keepalive's too; its own default is a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A partition that comes back is reached within two seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
)


def make_channel(endpoints: Sequence[str], tls: TlsConfig | None = None) -> grpc.aio.Channel:
    """A channel to ``endpoints`` (``host:port`` of each API server of one partition).

    Calls spread over the endpoints that answer. Several host names are resolved here, once, as gRPC takes only one name
    per target; a single name is left to gRPC, which resolves it again whenever it reconnects. Raises ``ValueError``.
    """
    options = [*CHANNEL_OPTIONS, ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
    if tls is None:
        return grpc.aio.insecure_channel(target_of(endpoints), options)
    if len(endpoints) > 1:
        # With a list of addresses, the name to verify is that of the first endpoint.
        options.append(("grpc.ssl_target_name_override", _split(endpoints[0])[0]))
    return grpc.aio.secure_channel(target_of(endpoints), channel_credentials(tls), options)


def target_of(endpoints: Sequence[str]) -> str:
    """The gRPC target that reaches any of ``endpoints``. Raises ``ValueError``."""
    if not endpoints:
        raise ValueError("a channel needs at least one endpoint")
    parts = [_split(endpoint) for endpoint in endpoints]
    if len(parts) == 1:
        return f"dns:///{endpoints[0]}"
    addresses = [address for host, port in parts for address in _addresses(host, port)]
    if not addresses:
        return f"dns:///{endpoints[0]}"
    version = addresses[0][0]
    scheme = "ipv4" if version == 4 else "ipv6"
    return f"{scheme}:" + ",".join(text for number, text in addresses if number == version)


def _split(endpoint: str) -> tuple[str, int]:
    host, separator, port = endpoint.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"{endpoint!r} is no host:port")
    return host.strip("[]"), int(port)


def _addresses(host: str, port: int) -> list[tuple[int, str]]:
    try:
        return [_text(ipaddress.ip_address(host), port)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [_text(ipaddress.ip_address(entry[4][0]), port) for entry in found]


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> tuple[int, str]:
    return address.version, f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
