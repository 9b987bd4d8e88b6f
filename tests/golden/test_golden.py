"""Manifests, their JSON form, what defaults make of them, and their stored bytes, against files that are checked in.

After a change on purpose: ``python -m tests.golden.test_golden`` writes the files anew; read the difference.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from services.api import defaults, manifests, validation, wire
from services.api.kinds import Kind
from services.api.manifests import Manifest

HERE = pathlib.Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.yaml"))
EVERY_FILE = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> list[Manifest]:
    return manifests.load((HERE / f"{name}.yaml").read_text(), source=f"{name}.yaml")


def json_forms(found: list[Manifest]) -> list[dict[str, Any]]:
    return [manifests.to_dict(manifest.kind, manifest.object) for manifest in found]


def stored_form(kind: Kind, message: Any) -> dict[str, Any]:
    """As a server stores it: placed in a tenant and a namespace, and with defaults."""
    placed = type(message)()
    placed.CopyFrom(message)
    placed.metadata.ClearField("resource_version")
    if kind.tenant_scoped:
        placed.metadata.tenant = placed.metadata.tenant or "acme"
    if kind.namespaced:
        placed.metadata.namespace = placed.metadata.namespace or "default"
    defaults.apply(kind, placed)
    assert validation.validate_create(kind, placed) == []
    return {"object": manifests.to_dict(kind, placed), "canonical": wire.canonical(placed).hex()}


def stored_forms(found: list[Manifest]) -> list[dict[str, Any]]:
    return [stored_form(manifest.kind, manifest.object) for manifest in found]


def golden(name: str, form: str) -> Any:
    return json.loads((HERE / f"{name}.{form}.json").read_text())


@EVERY_FILE
def test_a_manifest_has_its_json_form(name: str) -> None:
    assert json_forms(load(name)) == golden(name, "json-form")


@EVERY_FILE
def test_the_json_form_is_the_same_object(name: str) -> None:
    for manifest, form in zip(load(name), golden(name, "json-form"), strict=True):
        assert manifests.from_dict(form).object == manifest.object
        assert manifests.load(manifests.to_yaml(manifest.kind, manifest.object))[0].object == manifest.object


@EVERY_FILE
def test_keys_come_in_kubernetes_order(name: str) -> None:
    for manifest in load(name):
        keys = list(manifests.to_dict(manifest.kind, manifest.object))
        assert keys[:3] == ["apiVersion", "kind", "metadata"]


@EVERY_FILE
def test_what_is_stored_does_not_change_between_releases(name: str) -> None:
    assert stored_forms(load(name)) == golden(name, "stored")


def write_all() -> None:
    for name in NAMES:
        for form, content in (("json-form", json_forms(load(name))), ("stored", stored_forms(load(name)))):
            (HERE / f"{name}.{form}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_all()
