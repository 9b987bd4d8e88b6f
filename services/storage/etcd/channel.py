"""The channel to etcd: quick to reconnect, no limit on what etcd may answer."""

from __future__ import annotations

import pathlib

import grpc

from services.rpc.channel import channel_over, target_of
from services.storage.etcd.config import EtcdConfig

# etcd refuses pings more often than every 5 s (--grpc-keepalive-min-time). A member that falls silent is given up
# within ten seconds, and the next one is asked.
_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # The core waits this long for the answer to any ping, a keepalive's too; its own default is a minute.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    # A request that was sent must never be sent again behind our back: its outcome is found out instead.
    ("grpc.enable_retries", 0),
]


def make_channel(endpoints: tuple[str, ...], config: EtcdConfig) -> grpc.aio.Channel:
    """A channel to one of ``endpoints`` at a time. Raises ``ValueError``, ``OSError`` (unreadable PEM files).

    It stays with a member until that one fails: members lag by different amounts, so calls that went round would have
    reads without a quorum go back in time, and the later pages of such a list ask for what a member does not have yet.
    """
    credentials = None
    if config.ca_file:
        credentials = grpc.ssl_channel_credentials(
            _read(config.ca_file), _read(config.key_file) or None, _read(config.cert_file) or None
        )

    def connect(endpoint: str) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(target_of(endpoint), _OPTIONS)
        name = config.server_name or endpoint.rpartition(":")[0].strip("[]")
        options = [*_OPTIONS, ("grpc.ssl_target_name_override", name)]
        return grpc.aio.secure_channel(target_of(endpoint), credentials, options)

    return channel_over(endpoints, connect, sticky=True)


def _read(path: str) -> bytes:
    return pathlib.Path(path).read_bytes() if path else b""
