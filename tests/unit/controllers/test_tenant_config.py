"""Which flavour of controller manager a file is of, and what is said of a file that cannot be."""

from __future__ import annotations

import pathlib

import pytest

from services.base.config import ConfigError
from services.controllers.config import ControllersConfig
from services.controllers.tenant_config import TenantControllersConfig, load

TENANT = '[tenant_partition]\nname = "tp-1"\nendpoints = ["127.0.0.1:1"]\n'
RESOURCE = '[resource_partition]\nname = "rp-1"\nendpoints = ["127.0.0.1:1"]\n'


def loaded(directory: pathlib.Path, text: str, *overrides: str) -> ControllersConfig | TenantControllersConfig:
    file = directory / "c.toml"
    file.write_text(f'name = "c"\n{text}')
    return load(str(file), overrides)


def test_the_partition_says_the_flavour(tmp_path: pathlib.Path) -> None:
    tenant = loaded(tmp_path, f"{TENANT}[pod_gc]\nterminated_pod_threshold = 7\n", "replica_sets.workers=3")
    assert isinstance(tenant, TenantControllersConfig)
    assert (tenant.tenant_partition.name, tenant.pod_gc.terminated_pod_threshold) == ("tp-1", 7)
    assert (tenant.pod_gc.quarantine_s, tenant.pod_gc.period_s, tenant.replica_sets.workers) == (40.0, 20.0, 3)
    resource = loaded(tmp_path, RESOURCE)
    assert isinstance(resource, ControllersConfig) and resource.resource_partition.name == "rp-1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "neither [resource_partition] nor [tenant_partition] is set"),
        (TENANT + RESOURCE, "both [resource_partition] and [tenant_partition] are set"),
        (TENANT + "[claims]\n", "unknown field $.claims"),
        (RESOURCE + "[pod_gc]\n", "unknown field $.pod_gc"),
        (TENANT + "[pod_gc]\nterminated_pod_threshold = -1\n", "terminated_pod_threshold must not be negative"),
        (TENANT + "[pod_gc]\nperiod_s = 0.0\n", "period_s must be positive"),
        ("watch_gather_s = 1.5\n" + TENANT, "watch_gather_s must be between 0 and 1"),
        ("watch_gather_s = -0.1\n" + RESOURCE, "watch_gather_s must be between 0 and 1"),
        (RESOURCE + "[nodes]\nblind_after_s = 4.0\n", "twice nodes.pulse_period_s and watch_gather_s beside it"),
        (TENANT + "[replica_sets]\nworkers = 0\n", "workers must be at least 1"),
        ("[tenant_partition]\nname = 3\n", "$.tenant_partition"),
        ("= 3", "not TOML"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: pathlib.Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert complaint in str(caught.value) and "c.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path / "none.toml"))
