"""The part of the configuration file that says which plug-ins run: kube-scheduler's profiles, written in TOML.

``args`` holds the plug-in's own arguments with kube-scheduler's names for them (``scoringStrategy``); everything around
it is written like the rest of the file. ``docs/scheduler-plugins.md`` explains all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PluginRef:
    """A plug-in by name; ``weight`` of its scores, 0: the plug-in's own (1 unless Kubernetes' default says more)."""

    name: str
    weight: int = 0


@dataclass(frozen=True)
class PluginSet:
    """What is added to the defaults, and what is taken away first; the name ``*`` takes all of them away."""

    enabled: tuple[PluginRef, ...] = ()
    disabled: tuple[PluginRef, ...] = ()


@dataclass(frozen=True)
class PluginsConfig:
    """``multi_point`` concerns whole plug-ins; the others their part at one extension point."""

    multi_point: PluginSet = field(default_factory=PluginSet)
    filter: PluginSet = field(default_factory=PluginSet)
    score: PluginSet = field(default_factory=PluginSet)
    post_filter: PluginSet = field(default_factory=PluginSet)


@dataclass(frozen=True)
class PluginArgs:
    """The arguments of the plug-in ``name``."""

    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProfileConfig:
    """How the pods whose ``spec.schedulerName`` is ``scheduler_name`` are placed."""

    scheduler_name: str = "default-scheduler"
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    plugin_config: tuple[PluginArgs, ...] = ()
