"""Configuration of the etcd backend: the ``[etcd]`` section of a partition's file."""

from __future__ import annotations

from dataclasses import dataclass

from services.storage.checks import VALUE_BYTES_MAX


@dataclass(frozen=True)
class EtcdConfig:
    """``endpoints``: ``host:port`` of each member's client listener.

    ``max_txn_ops``: the servers' ``--max-txn-ops`` (etcd's default is 128); if theirs is lower, it is learned.
    ``transactions_in_flight_max``: group commits under way at a time; writes of one key keep their order. One was the
    fastest for many small writers (two made smaller batches: 20 % fewer writes/s); more help over a slow network.
    ``queue_items_max``: writes that may wait; beyond them ``QueueFull``.
    ``request_timeout_s``: for one call, and for a write that could not be sent (``Unavailable``).
    ``outcome_timeout_s``: a write that was sent and not answered is answered ``OutcomeUnknown`` this long after it was
    made, so that a client with a deadline of 10 s learns it; what became of it is looked into all the same.
    ``lease_gather_s``: how long writes of ``Lane.HEARTBEAT`` may gather before they go together.
    ``commit_gather_s``: other writes gather for so long at most, by how far transactions take more than 2 ms; 16
    that wait go at once. 0: never.
    ``compaction_interval_s``: history older than one to two intervals is compacted away by one of all the servers
    that share this etcd; 0 turns that off.
    ``ca_file``, ``cert_file``, ``key_file``: PEM; TLS is used if ``ca_file`` is set. ``server_name``: the name (or
    address) that every member's certificate carries; "": each carries the host of its own endpoint.
    """

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    request_timeout_s: float = 5.0
    outcome_timeout_s: float = 9.0
    max_txn_ops: int = 128
    transactions_in_flight_max: int = 1
    # The largest value and what is written together with it (a Node's ledger): less than a request's 1.5 MiB.
    batch_bytes_max: int = VALUE_BYTES_MAX + (64 << 10)
    value_bytes_max: int = VALUE_BYTES_MAX
    queue_items_max: int = 50_000
    lease_gather_s: float = 0.5
    commit_gather_s: float = 0.03
    compaction_interval_s: float = 300.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
