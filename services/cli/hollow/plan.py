"""From options to the kubelet host's configuration. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.api import quantities
from services.cli.context import Context
from services.cli.errors import UsageError
from services.cli.onebox import toml
from services.kubelet.distribution import Distribution, Outage, share_of

HOLLOW_LABEL = "node.ursa.io/hollow"


@dataclass(frozen=True)
class Options:
    """As given on the command line; distributions and outages are texts (``services.kubelet.distribution``).

    ``nodes``: in all, spread evenly over the resource partitions ``rps`` (all of the cluster if empty).
    """

    nodes: int
    rps: tuple[str, ...] = ()
    name_prefix: str = "joined-"
    zones: tuple[str, ...] = ()
    capacity: str = "cpu=32,memory=256Gi,pods=110"
    start_delay: str = "0"
    stop_delay: str = "0"
    crash_rate: float = 0.0
    pod_failure_rate: str = "0"
    death: str = ""
    cut: str = ""
    proxy_share: str = "0"
    listen: str = ""
    delete_on_exit: bool = False
    seed: int | None = None
    log_level: str = "warning"

    @property
    def host(self) -> str:
        """The name of the kubelet host: the same for the same prefix, so that its nodes are found again."""
        return f"{self.name_prefix}host"


def configuration(options: Options, context: Context, *, metrics_listen: str, listen: str) -> str:
    """The configuration file (TOML). Raises ``UsageError`` naming the option that is wrong."""
    partitions = [context.partition(name) for name in dict.fromkeys(options.rps)] or [*context.resource_partitions]
    for partition in partitions:
        if partition.kind != "resource":
            raise UsageError(f"--rp {partition.name}: nodes live in resource partitions, this is a tenant partition")
    if options.nodes < len(partitions):
        listed = ", ".join(partition.name for partition in partitions)
        raise UsageError(f"--nodes {options.nodes}: at least one for each resource partition ({listed}) is needed")
    behaviour = _behaviour(options)
    pools = [
        {
            "resource_partition": partition.name,
            "endpoints": [partition.endpoint],
            "nodes": options.nodes // len(partitions) + (number < options.nodes % len(partitions)),
            "name_prefix": f"{options.name_prefix}{partition.name}-",
            "zones": list(options.zones),
            **behaviour,
            "capacity": capacity(options.capacity),
            "labels": {HOLLOW_LABEL: "true"},
        }
        for number, partition in enumerate(partitions)
    ]
    document: dict[str, Any] = {
        "name": options.host,
        "listen": listen,
        "delete_on_exit": options.delete_on_exit,
        **({} if options.seed is None else {"seed": options.seed}),
        "pools": pools,
        "telemetry": {"metrics_listen": metrics_listen, "log_level": options.log_level},
    }
    return toml.dumps(document)


def _behaviour(options: Options) -> dict[str, Any]:
    _readable("--start-delay", options.start_delay, Distribution.parse)
    _readable("--stop-delay", options.stop_delay, Distribution.parse)
    for name, text in (("--death", options.death), ("--cut", options.cut)):
        if text:
            _readable(name, text, Outage.parse)
    if not 0 <= options.crash_rate < float("inf"):
        raise UsageError(f"--crash-rate {options.crash_rate}: must not be negative")
    return {
        "start_delay": options.start_delay,
        "stop_delay": options.stop_delay,
        "crash_rate_per_hour": float(options.crash_rate),
        "pod_failure_rate": share("--pod-failure-rate", options.pod_failure_rate),
        "death": options.death,
        "cut": options.cut,
        "proxy_share": share("--proxy-share", options.proxy_share),
    }


def _readable(option: str, text: str, parse: Callable[[str], object]) -> None:
    try:
        parse(text)
    except ValueError as failure:
        raise UsageError(f"{option}: {failure}") from failure


def share(option: str, text: str) -> float:
    """``1%``, ``0.01`` or ``0``. Raises ``UsageError``."""
    if text in ("0", "0%"):
        return 0.0
    try:
        return share_of(text)
    except ValueError as failure:
        raise UsageError(f"{option}: {failure}") from failure


def capacity(text: str) -> dict[str, str]:
    """``cpu=32,memory=256Gi,pods=110``. Raises ``UsageError`` naming what is wrong."""
    found: dict[str, str] = {}
    for part in text.split(","):
        resource, equals, amount = part.partition("=")
        if not equals or not resource or resource in found:
            raise UsageError(f"--capacity {text}: want resource=amount, each once, as in cpu=32,memory=256Gi,pods=110")
        try:
            quantities.parse(amount)
        except ValueError as failure:
            raise UsageError(f"--capacity: {resource}={amount}: {failure}") from failure
        found[resource] = amount
    if "pods" not in found:
        raise UsageError(f"--capacity {text}: pods is missing, and a node without it takes none")
    return found


def addresses(given: Sequence[str]) -> list[str]:
    """``host:port`` each. Raises ``UsageError``."""
    for address in given:
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"{address!r} is no address: want host:port")
    return [*given]
