"""Single fields of the components' configurations: who gets them, and what is refused."""

from __future__ import annotations

import pathlib

import pytest

from services.cli.errors import UsageError
from services.cli.onebox.home import Home
from services.cli.onebox.plan import ClusterPlan, Options, plan


def planned(*overrides: str) -> ClusterPlan:
    return plan(Options(overrides=overrides), Home(pathlib.Path("/data")), etcd_binary="etcd", python="python")


def settings(made: ClusterPlan) -> dict[str, tuple[str, ...]]:
    """What stands after each ``--set`` of each component that has one."""
    found = {}
    for component in made.components:
        words = component.argv
        values = tuple(words[i + 1] for i, word in enumerate(words) if word == "--set")
        if values:
            found[component.name] = values
    return found


def test_a_component_gets_its_field() -> None:
    made = planned("controller-rp-2.claims.retry_after_s=1.5")

    assert settings(made) == {"controller-rp-2": ("claims.retry_after_s=1.5",)}


def test_a_kind_means_every_component_of_it_and_order_is_kept() -> None:
    made = planned("scheduler.seed=7", "scheduler-tp-2.seed=8", 'tenant-partition.name="a.b=c"')

    assert settings(made) == {
        "scheduler-tp-1": ("seed=7",),
        "scheduler-tp-2": ("seed=7", "seed=8"),
        "tp-1": ('name="a.b=c"',),
        "tp-2": ('name="a.b=c"',),
    }


@pytest.mark.parametrize("override", ["kubelet", "kubelet.timing", "kubelet=3", ".seed=3", "kubelet.=3", "=a.b=3"])
def test_what_is_no_override_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match=r"want COMPONENT\.field=value"):
        planned(override)


@pytest.mark.parametrize("who", ["nobody", "etcd", "etcd-tp-1", "tp-3"])
def test_whom_nobody_is_called_is_refused_and_the_known_are_named(who: str) -> None:
    with pytest.raises(UsageError, match="there is no component") as refusal:
        planned(f"{who}.field=1")

    assert "scheduler-tp-1" in refusal.value.hint
    assert "etcd" not in refusal.value.hint
