"""From the configuration file's profiles to those that plans are made by; errors name the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.base.config import ConfigError
from services.scheduler.config import SchedulerConfig
from services.scheduler.core.keys import SCORE_LIMIT
from services.scheduler.core.plugin import (
    SCORE_MAX,
    DomainFilter,
    DomainScore,
    NodeFilter,
    NodeScore,
    UsageFilter,
    UsageScore,
)
from services.scheduler.core.plugins.default_preemption import DefaultPreemption
from services.scheduler.core.profile import DEFAULT_PROFILE, Profile, Profiles
from services.scheduler.plugin_args import ArgumentError
from services.scheduler.plugins import ABSENT, BUILT_IN, DEFAULTS, Part, Plugin, installed, parts_of
from services.scheduler.profile_config import PluginRef, PluginSet, ProfileConfig

ALL = "*"
WEIGHTS_MAX = SCORE_LIMIT // SCORE_MAX

FILTERS = (NodeFilter, UsageFilter, DomainFilter)
SCORES = (NodeScore, UsageScore, DomainScore)


@dataclass(frozen=True)
class _Chosen:
    """A part of a plug-in that runs, and what it weighs if it is a score."""

    part: Part
    weight: int


def build(configs: Sequence[ProfileConfig], known: Mapping[str, Plugin]) -> Profiles:
    """Raises ``ConfigError`` naming the field ("profiles[0].plugins.score.enabled[1].name")."""
    profiles: dict[str, Profile] = {}
    for index, config in enumerate(configs):
        here = f"profiles[{index}]"
        if not config.scheduler_name:
            raise ConfigError(f"{here}.scheduler_name: must not be empty")
        if config.scheduler_name in profiles:
            raise ConfigError(f'{here}.scheduler_name: "{config.scheduler_name}" has a profile already')
        profiles[config.scheduler_name] = _Builder(config, known, here).build()
    return Profiles(profiles)


def profiles_of(config: SchedulerConfig) -> Profiles:
    """Those of a process. Raises ``ConfigError``."""
    if not config.profiles:
        return Profiles({config.scheduler_name: DEFAULT_PROFILE})
    try:
        known = installed()
    except ArgumentError as failure:
        raise ConfigError(f"profiles: {failure}") from failure
    profiles = build(config.profiles, known)
    if config.scheduler_name not in profiles.by_name:
        raise ConfigError(f'scheduler_name: there is no profile "{config.scheduler_name}"')
    return profiles


class _Builder:
    def __init__(self, config: ProfileConfig, known: Mapping[str, Plugin], here: str) -> None:
        self._config = config
        self._known = known
        self._here = here
        self._args = self._arguments()
        self._parts: dict[str, tuple[Part, ...]] = {}

    def build(self) -> Profile:
        plugins = self._config.plugins
        whole = self._merged(plugins.multi_point, "plugins.multi_point", [(known, known.weight) for known in DEFAULTS])
        chosen: list[_Chosen] = []
        for shapes, chosen_here, field in (
            (FILTERS, plugins.filter, "plugins.filter"),
            (SCORES, plugins.score, "plugins.score"),
            ((DefaultPreemption,), plugins.post_filter, "plugins.post_filter"),
        ):
            inherited = [(plugin, weight) for plugin, weight in whole if self._has(plugin, shapes)]
            for plugin, weight in self._merged(chosen_here, field, inherited, shapes):
                chosen += [_Chosen(part, weight) for part in self._parts_of(plugin) if isinstance(part, shapes)]
        self._check_weights(chosen)
        unused = self._args.keys() - self._parts.keys() - {plugin.name for plugin in DEFAULTS}
        if unused:
            field = f"{self._here}.plugin_config"
            raise ConfigError(f'{field}: arguments for "{min(unused)}", which this profile does not enable')
        return Profile(
            node_filters=tuple(_only(chosen, NodeFilter)),
            usage_filters=tuple(_only(chosen, UsageFilter)),
            domain_filters=tuple(_only(chosen, DomainFilter)),
            node_scores=tuple(_weighed(chosen, NodeScore)),
            usage_scores=tuple(_weighed(chosen, UsageScore)),
            domain_scores=tuple(_weighed(chosen, DomainScore)),
            preemption=next(iter(_only(chosen, DefaultPreemption)), None),
        )

    def _arguments(self) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        found: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for index, config in enumerate(self._config.plugin_config):
            here = f"{self._here}.plugin_config[{index}]"
            self._named(config.name, f"{here}.name")
            if config.name in found:
                raise ConfigError(f'{here}.name: "{config.name}" has arguments already')
            found[config.name] = (f"{here}.args", config.args)
        return found

    def _merged(
        self,
        chosen: PluginSet,
        field: str,
        defaults: Sequence[tuple[Plugin, int]],
        shapes: tuple[type, ...] | None = None,
    ) -> list[tuple[Plugin, int]]:
        """The defaults without the disabled ones; enabled ones keep their default's place, new ones come last."""
        disabled = self._disabled(chosen.disabled, f"{self._here}.{field}.disabled")
        result = {
            plugin.name: (plugin, weight)
            for plugin, weight in defaults
            if plugin.fixed or not (ALL in disabled or plugin.name in disabled)
        }
        seen: set[str] = set()
        for index, ref in enumerate(chosen.enabled):
            here = f"{self._here}.{field}.enabled[{index}]"
            plugin = self._named(ref.name, f"{here}.name")
            if ref.name in seen:
                raise ConfigError(f'{here}.name: "{ref.name}" is listed twice')
            seen.add(ref.name)
            if ref.weight < 0:
                raise ConfigError(f"{here}.weight: must not be negative")
            if plugin is None:
                continue
            if shapes is not None and not self._has(plugin, shapes):
                raise ConfigError(f'{here}.name: "{ref.name}" has no part at this extension point')
            result[ref.name] = (plugin, ref.weight or plugin.weight)
        return list(result.values())

    def _disabled(self, refs: Iterable[PluginRef], field: str) -> set[str]:
        names: set[str] = set()
        for index, ref in enumerate(refs):
            here = f"{field}[{index}].name"
            if ref.name == ALL or ref.name in ABSENT:
                names.add(ref.name)
                continue
            plugin = self._named(ref.name, here)
            if plugin is None or plugin.fixed:
                raise ConfigError(f'{here}: "{ref.name}" cannot be disabled')
            names.add(ref.name)
        return names

    def _named(self, name: str, field: str) -> Plugin | None:
        """``None``: part of the scheduler itself."""
        if name in BUILT_IN:
            return None
        if name in ABSENT:
            raise ConfigError(f'{field}: "{name}" is about volumes or devices, which Ursa does not have')
        plugin = self._known.get(name)
        if plugin is None:
            raise ConfigError(f'{field}: no plug-in "{name}"; known are {", ".join(sorted(self._known))}')
        return plugin

    def _has(self, plugin: Plugin, shapes: tuple[type, ...]) -> bool:
        return any(isinstance(part, shapes) for part in self._parts_of(plugin))

    def _parts_of(self, plugin: Plugin) -> tuple[Part, ...]:
        known = self._parts.get(plugin.name)
        if known is None:
            field, args = self._args.get(plugin.name, (f'{self._here}: plug-in "{plugin.name}"', {}))
            try:
                known = self._parts[plugin.name] = parts_of(plugin, args)
            except ArgumentError as failure:
                path = f"{field}.{failure.field}" if failure.field else field
                raise ConfigError(f"{path}: {failure.message}") from failure
        return known

    def _check_weights(self, chosen: Iterable[_Chosen]) -> None:
        total = sum(one.weight for one in chosen if isinstance(one.part, SCORES))
        if total > WEIGHTS_MAX:
            raise ConfigError(f"{self._here}.plugins: the weights add up to {total}, more than {WEIGHTS_MAX}")


def _only(chosen: Iterable[_Chosen], shape: Any) -> list[Any]:
    return [one.part for one in chosen if isinstance(one.part, shape)]


def _weighed(chosen: Iterable[_Chosen], shape: Any) -> list[tuple[Any, int]]:
    return [(one.part, one.weight) for one in chosen if isinstance(one.part, shape)]
