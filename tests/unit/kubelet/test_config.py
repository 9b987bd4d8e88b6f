"""The host's configuration."""

from __future__ import annotations

import pathlib

import pytest

from services.base.config import ConfigError
from services.base.rand import Rand
from services.kubelet.app import read_config

GOOD = """
name = "hollow-1"
[[pools]]
resource_partition = "rp-1"
endpoints = ["127.0.0.1:7160"]
nodes = 3
name_prefix = "n-"
start_delay_ms = {delay}
"""


def write(directory: pathlib.Path, text: str) -> str:
    file = directory / "hollow.toml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(("delay", "seconds"), [("0", (0.0, 0.0)), ("250", (0.25, 0.25)), ("[100, 300]", (0.1, 0.3))])
def test_a_start_delay_is_a_number_or_a_range(tmp_path: pathlib.Path, delay: str, seconds: tuple[float, float]) -> None:
    config = read_config(write(tmp_path, GOOD.format(delay=delay)), ())
    delays = [config.pools[0].starting.draw(Rand(seed)) for seed in range(20)]
    assert seconds[0] <= min(delays) <= max(delays) <= seconds[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "x"\npools = []', "pools: at least one"),
        (GOOD.format(delay="[300, 100]"), "pools[0].start_delay_ms"),
        (GOOD.format(delay="-1"), "pools[0].start_delay_ms"),
        (GOOD.format(delay="0").replace("nodes = 3", "nodes = 0"), "pools[0].nodes"),
        (
            GOOD.format(delay='"1s"').replace("start_delay_ms", "start_delay") + 'stop_delay = "x"',
            "pools[0].stop_delay",
        ),
        (GOOD.format(delay='"1"').replace("start_delay_ms", "start_delay"), "pools[0].start_delay: '1'"),
        (GOOD.format(delay="5") + 'start_delay = "1s"', "pools[0].start_delay: may not be given beside"),
        (GOOD.format(delay="0") + 'death = "200%"', "pools[0].death: '200%'"),
        (GOOD.format(delay="0") + 'cut = "1%,soon"', "pools[0].cut: '1%,soon'"),
        (GOOD.format(delay="0") + "pod_failure_rate = 1.5", "pools[0].pod_failure_rate: must be between 0 and 1"),
        (GOOD.format(delay="0") + "crash_rate_per_hour = -1", "pools[0].crash_rate_per_hour"),
        (GOOD.format(delay="0") + "proxy_share = 2", "pools[0].proxy_share"),
        (
            GOOD.format(delay="0") + GOOD.format(delay="0").split("\n", 2)[2] + "first_number = 2",
            "give a node the same name",
        ),
        (GOOD.format(delay="0").replace("nodes = 3", "nodez = 3"), "nodez"),
        (GOOD.format(delay="0").replace('name = "hollow-1"', 'name = "host/1"'), "name: "),
        (GOOD.format(delay="0").replace('"n-"', '"N_"'), "pools[0].name_prefix: "),
        (GOOD.format(delay="0") + 'capacity = { cpu = "lots" }', "pools[0].capacity.cpu: "),
        (GOOD.format(delay="0") + "[timing]\nlease_renew_s = 0", "timing.lease_renew_s: must be positive, is 0"),
        (GOOD.format(delay="0") + "[timing]\nnode_status_compute_s = -1", "timing.node_status_compute_s: must be pos"),
        (GOOD.format(delay="0") + "[timing]\nnode_watch_gather_ms = 1001", "timing.node_watch_gather_ms: must be betw"),
        (GOOD.format(delay="0") + "[timing]\nlease_jitter = 2", "timing.lease_jitter: must be between 0 and 1"),
        (GOOD.format(delay="0") + "[timing]\nlease_renew_s = 60", "timing.lease_duration_s: must be more than"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: pathlib.Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as failure:
        read_config(write(tmp_path, text), ())
    assert says in str(failure.value)


PROCESS = GOOD.format(delay=0) + 'runtime = "process"\nroot = "/var/lib/pods"\n'


def test_a_pool_may_run_processes(tmp_path: pathlib.Path) -> None:
    config = read_config(write(tmp_path, PROCESS), ("listen=127.0.0.1:7100",))
    assert (config.pools[0].runtime, config.serving_address) == ("process", "127.0.0.1")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("nodes = 3", "nodes = 21", r'nodes: at most 20 with runtime = "process", is 21'),
        ('root = "/var/lib/pods"', "", "root: a directory is needed"),
        ("start_delay_ms = 0", "start_delay_ms = 5", "start_delay_ms: has a meaning for hollow nodes only"),
        ('runtime = "process"', 'runtime = "docker"', "runtime"),
        ('runtime = "process"', 'runtime = "hollow"', "root: has a meaning for"),
        ('name = "hollow-1"', 'name = "hollow-1"\nlisten = "7100"', "listen: must be host:port"),
        ('name = "hollow-1"', 'name = "hollow-1"\nlisten = "0.0.0.0:7100"', "address: is needed"),
    ],
)
def test_what_a_pool_of_processes_cannot_be_is_named(
    tmp_path: pathlib.Path, before: str, after: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        read_config(write(tmp_path, PROCESS.replace(before, after)), ())
