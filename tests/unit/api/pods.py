"""Pods for tests."""

from __future__ import annotations

from typing import Any

from services.api import defaults, manifests
from services.api.kinds import PODS
from services.api.pb.ursa.core.v1.pod_pb2 import Pod


def pod_document(**spec: Any) -> dict[str, Any]:
    """A small valid pod in JSON form; ``spec`` replaces or adds fields of its spec."""
    return {
        "metadata": {"name": "web", "namespace": "default", "tenant": "acme"},
        "spec": {"containers": [{"name": "main", "image": "nginx:1.27"}], **spec},
    }


def pod(**spec: Any) -> Pod:
    """The same as a message, with defaults."""
    message: Pod = manifests.parse_json(PODS, pod_document(**spec))
    defaults.apply(PODS, message)
    return message
