"""Keys hold exactly the segments of the kind's scope, and prefixes end at a segment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import keys, kinds
from services.api.keys import InvalidKey
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from tests.unit.api import arbitrary

SEGMENT = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=20)


def test_the_key_of_each_scope() -> None:
    assert keys.key(kinds.PODS, "acme", "default", "web") == "/ursa/pods/acme/default/web"
    assert keys.key(kinds.NAMESPACES, "acme", "", "default") == "/ursa/namespaces/acme/default"
    assert keys.key(kinds.NODES, "", "", "n1") == "/ursa/nodes/n1"


def test_the_prefix_of_each_range() -> None:
    assert keys.prefix(kinds.PODS) == keys.prefix(kinds.PODS, "*") == "/ursa/pods/"
    assert keys.prefix(kinds.PODS, "acme") == "/ursa/pods/acme/"
    assert keys.prefix(kinds.PODS, "acme", "default") == "/ursa/pods/acme/default/"
    assert keys.prefix(kinds.NAMESPACES, "acme") == "/ursa/namespaces/acme/"
    assert keys.prefix(kinds.NODES) == "/ursa/nodes/"


@given(arbitrary.kinds, SEGMENT, SEGMENT, SEGMENT)
def test_a_key_parses_to_its_segments(kind: kinds.Kind, tenant: str, namespace: str, name: str) -> None:
    text = keys.key(kind, tenant, namespace, name)
    wanted = (kind.resource, tenant if kind.tenant_scoped else "", namespace if kind.namespaced else "", name)
    assert keys.parse(text) == wanted
    assert text.startswith(keys.prefix(kind, "" if tenant == "*" else tenant))


@pytest.mark.parametrize(
    ("kind", "tenant", "namespace", "name"),
    [
        (kinds.PODS, "", "default", "web"),
        (kinds.PODS, "acme", "", "web"),
        (kinds.PODS, "acme", "default", ""),
        (kinds.PODS, "acme", "default", "../other"),
        (kinds.PODS, "acme/x", "default", "web"),
        (kinds.NAMESPACES, "", "", "default"),
        (kinds.NAMESPACES, "acme", "", "a/b"),
        (kinds.NODES, "", "", ""),
        (kinds.NODES, "", "", "rp-1/n1"),
    ],
)
def test_a_missing_segment_or_a_slash_gives_no_key(kind: kinds.Kind, tenant: str, namespace: str, name: str) -> None:
    with pytest.raises(InvalidKey):
        keys.key(kind, tenant, namespace, name)


def test_a_namespace_of_every_tenant_is_no_range() -> None:
    with pytest.raises(InvalidKey, match="needs one tenant"):
        keys.prefix(kinds.PODS, "*", "default")
    with pytest.raises(InvalidKey):
        keys.prefix(kinds.PODS, "a/b")


@pytest.mark.parametrize(
    "text", ["", "/", "/ursa", "/ursa/pods", "/ursa/pods/a/b", "/ursa/pods/a//b", "/ursa/widgets/a", "x/ursa/nodes/n"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKey):
        keys.parse(text)


def test_the_key_of_an_object() -> None:
    pod = Pod()
    pod.metadata.tenant, pod.metadata.namespace, pod.metadata.name = "acme", "default", "web"
    assert keys.key_of(kinds.PODS, pod) == "/ursa/pods/acme/default/web"
