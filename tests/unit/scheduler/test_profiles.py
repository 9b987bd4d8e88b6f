"""Profiles: which plug-ins run, with which weights and arguments, and what is said about a wrong configuration."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.base.config import ConfigError, load
from services.scheduler.config import SchedulerConfig
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable, PodClasses, Profile, Profiles, plan
from services.scheduler.core.plugins.balanced_allocation import BalancedAllocation
from services.scheduler.core.plugins.default_preemption import DefaultPreemption
from services.scheduler.core.plugins.least_allocated import LeastAllocated
from services.scheduler.core.plugins.most_allocated import MostAllocated
from services.scheduler.core.plugins.node_affinity import NodeAffinity
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.plugins.requested_to_capacity_ratio import RequestedToCapacityRatio, ShapePoint
from services.scheduler.core.plugins.resource_amounts import Resource
from services.scheduler.plugins import installed
from services.scheduler.profiles import profiles_of
from tests.support.scheduling import make_node, make_pod

HEAD = """
name = "scheduler-1"
[tenant_partition]
name = "tp-1"
endpoints = ["127.0.0.1:1"]
"""


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    def configure(text: str) -> Profiles:
        file = tmp_path / "scheduler.toml"
        file.write_text(HEAD + textwrap.dedent(text))
        return profiles_of(load(file, SchedulerConfig))

    return configure


def only(profiles: Profiles) -> Profile:
    (profile,) = profiles.all()
    return profile


def weights(profile: Profile) -> dict[str, int]:
    scores: Iterable[tuple[Any, int]] = (*profile.node_scores, *profile.usage_scores, *profile.domain_scores)
    return {score.name: weight for score, weight in scores}


def names(profile: Profile) -> list[str]:
    return [known.name for known in profile.filters]


def test_no_profiles_means_kubernetes_default_profile(configured: Any) -> None:
    assert only(configured("")) == DEFAULT_PROFILE
    # The same, said with a profile that changes nothing.
    built = only(configured("[[profiles]]"))
    assert [type(known) for known in built.filters] == [type(known) for known in DEFAULT_PROFILE.filters]
    assert weights(built) == weights(DEFAULT_PROFILE) == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "PodTopologySpread": 2,
        "InterPodAffinity": 2,
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
        "ImageLocality": 1,
    }  # fmt: skip
    assert built.preemption == DEFAULT_PROFILE.preemption


def test_plug_ins_are_taken_away_weighed_and_given_arguments(configured: Any) -> None:
    profile = only(
        configured(
            """
            [[profiles]]
            plugins.multi_point.disabled = [{ name = "ImageLocality" }, { name = "VolumeBinding" }]
            plugins.multi_point.enabled = [{ name = "NodeResourcesFit", weight = 5 }]
            plugins.score.disabled = [{ name = "TaintToleration" }]
            plugins.score.enabled = [{ name = "NodeAffinity", weight = 9 }]
            plugins.filter.disabled = [{ name = "NodePorts" }]
            plugins.post_filter.disabled = [{ name = "*" }]

            [[profiles.plugin_config]]
            name = "NodeResourcesFit"
            args.ignoredResourceGroups = ["example.com"]
            args.scoringStrategy.type = "MostAllocated"
            args.scoringStrategy.resources = [{ name = "cpu", weight = 3 }, { name = "example.com/gpu" }]
            """
        )
    )
    assert "ImageLocality" not in weights(profile) and "TaintToleration" not in weights(profile)
    assert "TaintToleration" in names(profile) and "NodePorts" not in names(profile)
    assert (weights(profile)["NodeResourcesFit"], weights(profile)["NodeAffinity"]) == (5, 9)
    assert NodeResourcesFit(ignored_groups=frozenset({"example.com"})) in profile.usage_filters
    assert (MostAllocated((Resource("cpu", 3), Resource("example.com/gpu"))), 5) in profile.usage_scores
    assert profile.preemption is None


def test_everything_is_taken_away_but_what_keeps_the_cluster_safe(configured: Any) -> None:
    profile = only(configured('[[profiles]]\nplugins.multi_point.disabled = [{ name = "*" }]'))
    assert names(profile) == ["NodeReady"] and not weights(profile) and profile.preemption is None


def test_arguments_of_the_other_plug_ins(configured: Any) -> None:
    profile = only(
        configured(
            """
            [[profiles]]
            [[profiles.plugin_config]]
            name = "NodeResourcesFit"
            [profiles.plugin_config.args.scoringStrategy]
            type = "RequestedToCapacityRatio"
            requestedToCapacityRatio.shape = [{ utilization = 0, score = 10 }, { utilization = 100, score = 0 }]
            [[profiles.plugin_config]]
            name = "NodeResourcesBalancedAllocation"
            args.resources = [{ name = "example.com/gpu" }, { name = "cpu", weight = 1 }]
            [[profiles.plugin_config]]
            name = "DefaultPreemption"
            args = { minCandidateNodesPercentage = 10, minCandidateNodesAbsolute = 50 }
            [[profiles.plugin_config]]
            name = "NodeAffinity"
            [[profiles.plugin_config.args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms]]
            matchExpressions = [{ key = "pool", operator = "In", values = ["batch"] }]
            """
        )
    )
    scores = [score for score, _ in profile.usage_scores]
    assert RequestedToCapacityRatio((ShapePoint(0, 10), ShapePoint(100, 0))) in scores
    assert BalancedAllocation(("example.com/gpu", "cpu")) in scores
    assert profile.preemption == DefaultPreemption(10, 50)
    (affinity,) = [known for known in profile.node_filters if isinstance(known, NodeAffinity)]
    assert affinity.added is not None
    message = refusal(Profiles({"default-scheduler": profile}), make_pod("p"))
    assert message == "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."


def refusal(profiles: Profiles, pod: Any) -> str:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a"))
    return plan(table.freeze(), [PodClasses().info(pod)], profiles).unschedulable[0].message


def test_pods_are_placed_by_the_profile_of_their_scheduler_name(configured: Any) -> None:
    profiles = configured(
        """
        [[profiles]]
        [[profiles]]
        scheduler_name = "packer"
        [[profiles.plugin_config]]
        name = "NodeResourcesFit"
        args.scoringStrategy.type = "MostAllocated"
        """
    )
    table, classes = NodeTable(scheduler="s"), PodClasses()
    table.upsert("rp-1", make_node("small", cpu="2", memory="2Gi"))
    table.upsert("rp-1", make_node("large", cpu="8", memory="8Gi"))
    pods = [
        classes.info(make_pod(name, cpu="1", memory="1Gi", scheduler_name=name))
        for name in ("default-scheduler", "packer")
    ]
    placed = {done.pod.name: done.node.name for done in plan(table.freeze(), pods, profiles).placements}
    assert placed == {"default-scheduler": "large", "packer": "small"}
    spread, packed = profiles.all()
    assert isinstance(spread.usage_scores[0][0], LeastAllocated) and isinstance(
        packed.usage_scores[0][0], MostAllocated
    )


GUIDE = Path(__file__).parents[3] / "docs" / "scheduler-plugins.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_guides_configuration_is_good(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.toml"
    file.write_text(blocks("toml")[0])
    profiles = profiles_of(load(file, SchedulerConfig))
    default, packer = profiles.by_name["default-scheduler"], profiles.by_name["packer"]
    assert weights(default)["PodTopologySpread"] == 5 and "ImageLocality" not in weights(default)
    assert packer.preemption is None and isinstance(packer.usage_scores[0][0], MostAllocated)


def test_the_guides_plug_in_works_as_it_is_announced(configured: Any, distribution: Any) -> None:
    (module,) = blocks("python")
    announced, profile = blocks("toml")[2:]
    distribution(tomllib.loads(announced)["project"]["entry-points"]["ursa.scheduler.plugins"], prefer_label=module)
    assert weights(only(configured(profile)))["PreferLabel"] == 7


DEFAULTED = """
[[profiles]]
[[profiles.plugin_config]]
name = "PodTopologySpread"
args.defaultingType = "List"
args.defaultConstraints = [{ maxSkew = 1, topologyKey = "zone", whenUnsatisfiable = "DoNotSchedule" }]
"""


def zones_of(profiles: Profiles, *pods: Any) -> list[str]:
    """The zones that ``pods`` are placed in; zone "a" has far better nodes."""
    table, classes = NodeTable(scheduler="s"), PodClasses()
    for number in range(4):
        table.upsert("rp-1", make_node(f"a-{number}", cpu="64", memory="256Gi", labels={"zone": "a"}))
    table.upsert("rp-1", make_node("b-0", cpu="1", memory="1Gi", labels={"zone": "b"}))
    decided = plan(table.freeze(), [classes.info(pod) for pod in pods], profiles)
    return sorted(placement.node.name[0] for placement in decided.placements)


def test_the_guides_spread_constraints_are_taken(configured: Any) -> None:
    (defaults,) = [block for block in blocks("toml") if "defaultConstraints" in block]
    assert only(configured(f"[[profiles]]\n{defaults}"))


def test_listed_constraints_spread_pods_that_have_none(configured: Any) -> None:
    profiles = configured(DEFAULTED)
    alike = [make_pod(f"p{n}", cpu="200m", labels={"app": "web"}) for n in range(4)]
    assert zones_of(profiles, *alike) == ["a", "a", "b", "b"]
    assert zones_of(configured(""), *alike) == ["a"] * 4
    # One of a set each: the label that tells them apart is left out.
    numbered = [
        make_pod(f"p{n}", cpu="200m", labels={"app": "web", "apps.kubernetes.io/pod-index": str(n)}) for n in range(4)
    ]
    assert zones_of(profiles, *numbered) == ["a", "a", "b", "b"]
    # Nothing says whose like they are.
    assert zones_of(profiles, *(make_pod(f"p{n}", cpu="200m") for n in range(4))) == ["a"] * 4
    # Their own constraints count, and no others.
    own = [make_pod(f"p{n}", cpu="200m", labels={"app": "web"}) for n in range(4)]
    for pod in own:
        constraint = pod.spec.topology_spread_constraints.add(
            max_skew=9, topology_key="zone", when_unsatisfiable="DoNotSchedule"
        )
        constraint.label_selector.match_labels["app"] = "web"
    assert zones_of(profiles, *own) == ["a"] * 4


@pytest.mark.parametrize(("args", "near"), [("", True), ("args.hardPodAffinityWeight = 0", False)])
def test_what_required_affinity_of_placed_pods_weighs(configured: Any, args: str, near: bool) -> None:
    text = f'[[profiles]]\n[[profiles.plugin_config]]\nname = "InterPodAffinity"\n{args}\n'
    assert drawn(configured(text), "required") == near


@pytest.mark.parametrize(("ignore", "near"), [("false", True), ("true", False)])
def test_preferences_of_placed_pods_may_be_ignored(configured: Any, ignore: str, near: bool) -> None:
    text = '[[profiles]]\n[[profiles.plugin_config]]\nname = "InterPodAffinity"\n'
    assert drawn(configured(f"{text}args.ignorePreferredTermsOfExistingPods = {ignore}"), "preferred") == near
    # A newcomer with preferences of its own sees those of the others all the same.
    assert drawn(configured(f"{text}args.ignorePreferredTermsOfExistingPods = {ignore}"), "preferred", wishes=True)


def drawn(profiles: Profiles, how: str, *, wishes: bool = False) -> bool:
    """A pod goes to the small node, where one is that wants its company."""
    table, classes = NodeTable(scheduler="s"), PodClasses()
    for name, cpu in (("large", "64"), ("small", "8")):
        table.upsert("rp-1", make_node(name, cpu=cpu, labels={"kubernetes.io/hostname": name}))
    there = make_pod("there", cpu="1", labels={"app": "there"})
    affinity = there.spec.affinity.pod_affinity
    if how == "required":
        term = affinity.required_during_scheduling_ignored_during_execution.add()
    else:
        term = affinity.preferred_during_scheduling_ignored_during_execution.add(weight=100).pod_affinity_term
    term.topology_key = "kubernetes.io/hostname"
    term.label_selector.match_labels["app"] = "new"
    table.assign(classes.info(there), NodeId("rp-1", "small"))
    new = make_pod("new", cpu="4", labels={"app": "new"})
    if wishes:
        own = new.spec.affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution.add(weight=1)
        own.pod_affinity_term.topology_key = "kubernetes.io/hostname"
        own.pod_affinity_term.label_selector.match_labels["app"] = "nobody"
    (placement,) = plan(table.freeze(), [classes.info(new)], profiles).placements
    return placement.node.name == "small"


SPREAD = '[[profiles]]\n[[profiles.plugin_config]]\nname = "PodTopologySpread"\n'
ZONE = 'maxSkew = 1, topologyKey = "zone", whenUnsatisfiable = "DoNotSchedule"'
FIT = '[[profiles]]\n[[profiles.plugin_config]]\nname = "NodeResourcesFit"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[profiles]]\n[[profiles]]", 'profiles[1].scheduler_name: "default-scheduler" has a profile already'),
        ('[[profiles]]\nscheduler_name = ""', "profiles[0].scheduler_name: must not be empty"),
        ('[[profiles]]\nscheduler_name = "x"', 'scheduler_name: there is no profile "default-scheduler"'),
        ("[[profiles]]\nplugin = 1", "unknown field $.profiles[0].plugin"),
        ("[[profiles]]\nplugins.bind = 1", "unknown field $.profiles[0].plugins.bind"),
        (
            '[[profiles]]\nplugins.score.enabled = [{ name = "Nope" }]',
            'profiles[0].plugins.score.enabled[0].name: no plug-in "Nope"; known are DefaultPreemption',
        ),
        (
            '[[profiles]]\nplugins.score.enabled = [{ name = "NodePorts" }]',
            'profiles[0].plugins.score.enabled[0].name: "NodePorts" has no part at this extension point',
        ),
        (
            '[[profiles]]\nplugins.multi_point.enabled = [{ name = "ImageLocality" }, { name = "ImageLocality" }]',
            'profiles[0].plugins.multi_point.enabled[1].name: "ImageLocality" is listed twice',
        ),
        (
            '[[profiles]]\nplugins.multi_point.enabled = [{ name = "ImageLocality", weight = -1 }]',
            "profiles[0].plugins.multi_point.enabled[0].weight: must not be negative",
        ),
        (
            '[[profiles]]\nplugins.multi_point.enabled = [{ name = "ImageLocality", weight = 5000 }]',
            "profiles[0].plugins: the weights add up to 5011, more than 1310",
        ),
        (
            '[[profiles]]\nplugins.multi_point.enabled = [{ name = "VolumeBinding" }]',
            '"VolumeBinding" is about volumes or devices',
        ),
        (
            '[[profiles]]\nplugins.multi_point.disabled = [{ name = "NodeReady" }]',
            'profiles[0].plugins.multi_point.disabled[0].name: "NodeReady" cannot be disabled',
        ),
        (
            '[[profiles]]\nplugins.multi_point.disabled = [{ name = "PrioritySort" }]',
            '"PrioritySort" cannot be disabled',
        ),
        (
            f'{FIT}args.scoringStrategy.type = "Best"',
            "profiles[0].plugin_config[0].args.scoringStrategy.type: Invalid enum value 'Best'",
        ),
        (f"{FIT}args.scoring = 1", "profiles[0].plugin_config[0].args: Object contains unknown field `scoring`"),
        (
            f'{FIT}args.scoringStrategy.resources = [{{ name = "cpu", weight = 101 }}]',
            "profiles[0].plugin_config[0].args.scoringStrategy.resources[0].weight: Expected `int` <= 100",
        ),
        (
            f'{FIT}args.scoringStrategy.resources = [{{ name = "cpu" }}, {{ name = "cpu" }}]',
            'args.scoringStrategy.resources[1].name: "cpu" is listed twice',
        ),
        (
            f'{FIT}args.scoringStrategy.type = "RequestedToCapacityRatio"',
            "args.scoringStrategy.requestedToCapacityRatio.shape: at least one point must be specified",
        ),
        (
            f'{FIT}args.scoringStrategy = {{ type = "RequestedToCapacityRatio", requestedToCapacityRatio.shape = '
            "[{ utilization = 50, score = 1 }, { utilization = 50, score = 2 }] }",
            "requestedToCapacityRatio.shape[1].utilization: values must be sorted in increasing order",
        ),
        (f'{FIT}[[profiles.plugin_config]]\nname = "NodeResourcesFit"', '"NodeResourcesFit" has arguments already'),
        (
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "NodeName"\nargs.x = 1',
            "profiles[0].plugin_config[0].args: Object contains unknown field `x`",
        ),
        (
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "NodeResourcesBalancedAllocation"\n'
            'args.resources = [{ name = "cpu", weight = 2 }]',
            "args.resources[0].weight: must be 1",
        ),
        (
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "NodeAffinity"\nargs.addedAffinity.required = []',
            "profiles[0].plugin_config[0].args.addedAffinity.required",
        ),
        (
            f'{SPREAD}args.defaultConstraints = [{{ {ZONE} }}]',
            'args.defaultConstraints: must be empty unless defaultingType is "List"',
        ),
        (
            f'{SPREAD}args = {{ defaultingType = "List", defaultConstraints = [{{ {ZONE} }}, {{ {ZONE} }}] }}',
            'args.defaultConstraints[1]: "zone" with DoNotSchedule is listed twice',
        ),
        (
            f'{SPREAD}args = {{ defaultingType = "List", defaultConstraints = [{{ {ZONE}, labelSelector = {{}} }}] }}',
            "args.defaultConstraints[0]: Object contains unknown field `labelSelector`",
        ),
        (
            f'{SPREAD}args = {{ defaultingType = "List", defaultConstraints = [{{ {ZONE.replace("1", "0")} }}] }}',
            "args.defaultConstraints[0].maxSkew: Expected `int` >= 1",
        ),
        (
            f'{SPREAD}args = {{ defaultingType = "List", defaultConstraints = [{{ {ZONE.replace("zone", "a b")} }}] }}',
            "args.defaultConstraints[0].topologyKey: ",
        ),
        (f'{SPREAD}args.defaultingType = "Some"', "args.defaultingType: Invalid enum value 'Some'"),
        (
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "InterPodAffinity"\nargs.hardPodAffinityWeight = 101',
            "profiles[0].plugin_config[0].args.hardPodAffinityWeight: Expected `int` <= 100",
        ),
        (
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "DefaultPreemption"\n'
            "args = { minCandidateNodesPercentage = 0, minCandidateNodesAbsolute = 0 }",
            "cannot both be zero",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_field(configured: Any, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(text)
    assert says in str(caught.value)


# A distribution of somebody else's, installed beside Ursa: a module and its metadata in a directory of the path.

MODULE = '''
from dataclasses import dataclass

import numpy as np

from services.scheduler.core.plugin import NodeScore, Normalization


@dataclass(frozen=True)
class PreferLabel(NodeScore):
    """Prefers nodes that have a label."""

    label: str
    name = "PreferLabel"
    normalization = Normalization.BY_MAXIMUM

    def raw(self, pods, nodes):
        return nodes.labels.column(self.label).where(lambda value: value is not None).astype(np.int64)


def make(args):
    return PreferLabel(args["label"])


def nonsense(args):
    return [1]
'''
METADATA = "Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n"


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(entries: Mapping[str, str], **modules: str) -> None:
        for name, text in {"third_party_plugins": MODULE, **modules}.items():
            (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / "third_party-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA)
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("[ursa.scheduler.plugins]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in ("third_party_plugins", "prefer_label"):
        sys.modules.pop(name, None)


ENABLED = '[[profiles]]\nplugins.multi_point.enabled = [{ name = "PreferLabel", weight = 7 }]\n'


def test_a_plug_in_of_another_distribution_is_found_configured_and_asked(configured: Any, distribution: Any) -> None:
    distribution({"PreferLabel": "third_party_plugins:make"})
    assert "PreferLabel" in installed()
    profiles = configured(f'{ENABLED}[[profiles.plugin_config]]\nname = "PreferLabel"\nargs.label = "ssd"')
    assert weights(only(profiles))["PreferLabel"] == 7
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("large", cpu="64", memory="256Gi"))
    table.upsert("rp-1", make_node("labelled", labels={"ssd": ""}))
    decided = plan(table.freeze(), [PodClasses().info(make_pod("p", cpu="1"))], profiles)
    assert decided.placements[0].node.name == "labelled"


@pytest.mark.parametrize(
    ("entries", "text", "says"),
    [
        ({}, ENABLED, 'profiles[0].plugins.multi_point.enabled[0].name: no plug-in "PreferLabel"'),
        (
            {"NodeName": "third_party_plugins:make"},
            "[[profiles]]",
            'profiles: entry point "NodeName" (third_party_plugins:make): there is a plug-in of that name',
        ),
        (
            {"PreferLabel": "third_party_plugins:missing"},
            ENABLED,
            'plug-in "PreferLabel": entry point "PreferLabel" (third_party_plugins:missing) cannot be loaded',
        ),
        (
            {"PreferLabel": "third_party_plugins:nonsense"},
            ENABLED,
            'profiles[0]: plug-in "PreferLabel": it made a int, which has none of the shapes of a plug-in',
        ),
        (
            {"PreferLabel": "third_party_plugins:make"},
            '[[profiles]]\n[[profiles.plugin_config]]\nname = "PreferLabel"\nargs.label = "ssd"',
            'profiles[0].plugin_config: arguments for "PreferLabel", which this profile does not enable',
        ),
        (
            {"PreferLabel": "third_party_plugins:make"},
            ENABLED,
            'profiles[0]: plug-in "PreferLabel": KeyError: \'label\'',
        ),
    ],
)  # fmt: skip
def test_a_plug_in_that_cannot_be_used_says_why(
    configured: Any, distribution: Any, entries: dict[str, str], text: str, says: str
) -> None:
    distribution(entries)
    with pytest.raises(ConfigError) as caught:
        configured(text)
    assert says in str(caught.value)
