"""Channels: how every client of Ursa reaches the servers of one partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from services.base.rand import Rand
from services.rpc.credentials import TlsConfig, channel_credentials
from services.rpc.spread import SpreadChannel

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

    Calls spread over the endpoints that answer. With TLS each one's certificate carries its own host. Raises
    ``ValueError``.
    """
    # Of one name with several addresses, each is used as well.
    options = [*CHANNEL_OPTIONS, ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
    credentials = channel_credentials(tls) if tls is not None else None

    def connect(endpoint: str) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(target_of(endpoint), options)
        return grpc.aio.secure_channel(target_of(endpoint), credentials, options)

    # Everybody's first call, a watch stream that stays, would else be the first endpoint's.
    return channel_over(endpoints, connect, start=Rand().integer(0, len(endpoints)))


def channel_over(
    endpoints: Sequence[str], connect: Callable[[str], grpc.aio.Channel], *, sticky: bool = False, start: int = 0
) -> grpc.aio.Channel:
    """What ``connect`` makes of the only endpoint; of several, a ``SpreadChannel``. Raises ``ValueError``.

    gRPC takes one name per target: several would have to be resolved here, and for ever.
    """
    if not endpoints:
        raise ValueError("a channel needs at least one endpoint")
    for endpoint in endpoints:
        target_of(endpoint)
    if len(endpoints) == 1:
        return connect(endpoints[0])
    return SpreadChannel([(endpoint, connect(endpoint)) for endpoint in endpoints], sticky=sticky, start=start)


def target_of(endpoint: str) -> str:
    """The gRPC target of ``host:port``, which gRPC resolves whenever it reconnects. Raises ``ValueError``."""
    host, separator, port = endpoint.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"{endpoint!r} is no host:port")
    return f"dns:///{endpoint}"
