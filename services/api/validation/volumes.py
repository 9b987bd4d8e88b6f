"""Rules of volumes: a name and exactly one source, with what that source needs (``validateVolumes``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.api import names
from services.api.pb.ursa.core.v1.pod_pb2 import Volume
from services.api.validation.containers import relative_faults
from services.api.validation.resources import quantity_faults
from services.api.validation.violations import (
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    one_of,
    required,
    under,
)

FILE_MODE_MAX = 0o777
_HOST_PATH_TYPES = frozenset(
    ("DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
)


def volumes_faults(volumes: Iterable[Volume]) -> Violations:
    """Paths start at the items: ``[0].name``."""
    found: Violations = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        wrong = _volume(volume)
        if volume.name in seen:
            wrong.append(duplicate("name", volume.name))
        seen.add(volume.name)
        if wrong:
            found += under(f"[{index}]", wrong)
    return found


def _volume(volume: Volume) -> Violations:
    found = faults("name", volume.name, names.dns_label(volume.name)) if volume.name else [required("name")]
    sources = [field for field, _ in volume.ListFields() if field.name != "name"]
    if not sources:
        found.append(required("", "must specify a volume type"))
    for extra in sources[1:]:
        found.append(forbidden(extra.json_name, "may not specify more than 1 volume type"))
    for field in sources[:1]:
        found += under(field.json_name, _source(field.name, getattr(volume, field.name)))
    return found


def _source(name: str, source: Any) -> Violations:
    match name:
        case "empty_dir":
            return _empty_dir(source)
        case "host_path":
            found = [] if source.path else [required("path")]
            return found + one_of("type", source.type, _HOST_PATH_TYPES, optional=True)
        case "config_map":
            return _named("name", source.name) + _files(source)
        case "secret":
            return _named("secretName", source.secret_name) + _files(source)
        case "persistent_volume_claim":
            return _named("claimName", source.claim_name)
        case "nfs":
            return _nfs(source)
        case "projected":
            return _projected(source)
        case _:
            return _downward(source.items) + _mode("defaultMode", source)


def _named(field: str, name: str) -> Violations:
    return faults(field, name, names.dns_subdomain(name)) if name else [required(field)]


def _empty_dir(source: Any) -> Violations:
    found = quantity_faults("sizeLimit", "memory", source.size_limit) if source.size_limit else []
    if source.medium not in ("", "Memory", "HugePages") and not source.medium.startswith("HugePages-"):
        found += one_of("medium", source.medium, ("Memory", "HugePages"))
    return found


def _nfs(source: Any) -> Violations:
    found = [] if source.server else [required("server")]
    if not source.path.startswith("/"):
        found.append(invalid("path", source.path, "must be an absolute path") if source.path else required("path"))
    return found


def _files(source: Any) -> Violations:
    return _items(source.items) + _mode("defaultMode", source)


def _items(items: Iterable[Any]) -> Violations:
    found: Violations = []
    for index, item in enumerate(items):
        wrong = [] if item.key else [required("key")]
        wrong += relative_faults("path", item.path) if item.path else [required("path")]
        wrong += _mode("mode", item)
        if wrong:
            found += under(f"items[{index}]", wrong)
    return found


def _mode(field: str, holder: Any) -> Violations:
    name = "default_mode" if field == "defaultMode" else "mode"
    if not holder.HasField(name) or 0 <= getattr(holder, name) <= FILE_MODE_MAX:
        return []
    return [invalid(field, getattr(holder, name), "must be a number between 0 and 0777 (octal), both inclusive")]


def _downward(items: Iterable[Any]) -> Violations:
    found: Violations = []
    for index, item in enumerate(items):
        wrong = relative_faults("path", item.path) if item.path else [required("path")]
        if item.HasField("field_ref") == item.HasField("resource_field_ref"):
            wrong.append(required("", "must specify exactly one of fieldRef, resourceFieldRef"))
        wrong += _mode("mode", item)
        if wrong:
            found += under(f"items[{index}]", wrong)
    return found


def _projected(source: Any) -> Violations:
    found = _mode("defaultMode", source)
    for index, projection in enumerate(source.sources):
        here = f"sources[{index}]"
        chosen = [field for field, _ in projection.ListFields()]
        if len(chosen) != 1:
            found.append(required(here, "must specify exactly one source"))
            continue
        found += under(
            f"{here}.{chosen[0].json_name}", _projection(chosen[0].name, getattr(projection, chosen[0].name))
        )
    return found


def _projection(name: str, projection: Any) -> Violations:
    if name in ("config_map", "secret"):
        return _named("name", projection.name) + _items(projection.items)
    if name == "downward_api":
        return _downward(projection.items)
    found = relative_faults("path", projection.path) if projection.path else [required("path")]
    if projection.HasField("expiration_seconds") and projection.expiration_seconds < 600:
        found.append(
            invalid("expirationSeconds", projection.expiration_seconds, "may not specify less than 10 minutes")
        )
    return found
