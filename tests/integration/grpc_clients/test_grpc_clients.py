"""`buf curl` and `grpcurl`, unmodified, against a real tenant partition: what the README shows works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.grpc_clients import servers, tools
from tests.integration.grpc_clients.tools import BufCurl, CallFailed, GrpcClient, Grpcurl

# Building grpcurl on a machine that has only Go takes a minute or two.
pytestmark = [pytest.mark.etcd, pytest.mark.timeout(400)]

TENANT = "clients"


def pod(name: str) -> dict[str, Any]:
    """A pod as `kubectl get -o json` would show it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "tenant": TENANT, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [
                {
                    "name": "main",
                    "image": "nginx:1.27",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.tenant_partition(tmp_path_factory.mktemp("servers")) as running:
        yield running


def buf(endpoint: str) -> GrpcClient:
    binary = tools.find_buf()
    if binary is None:
        pytest.skip("no `buf`: it comes with the package's dev extra (buf-bin)")
    return BufCurl(binary, endpoint)


def grpcurl(endpoint: str) -> GrpcClient:
    binary, reason = tools.find_grpcurl()
    if binary is None:
        pytest.skip(reason)
    return Grpcurl(binary, endpoint)


@pytest.fixture(scope="module", params=[buf, grpcurl], ids=["buf", "grpcurl"])
def client(request: pytest.FixtureRequest, endpoint: str) -> GrpcClient:
    make: Callable[[str], GrpcClient] = request.param
    return make(endpoint)


@pytest.fixture(scope="module")
def name(client: GrpcClient) -> str:
    """The prefix of this client's own pods; the tenant that they live in exists."""
    own = type(client).__name__.lower()
    try:
        client.call("ursa.tenancy.v1.Tenants/Create", {"object": {"metadata": {"name": TENANT}}})
    except CallFailed as failure:
        # The client that came first has made it.
        assert "already exists" in str(failure).lower() or "AlreadyExists" in str(failure), failure
    return own


def test_services_are_listed_by_reflection(client: GrpcClient) -> None:
    assert {
        "ursa.core.v1.Pods",
        "ursa.core.v1.Namespaces",
        "ursa.tenancy.v1.Tenants",
        "ursa.watch.v1.WatchService",
        "grpc.health.v1.Health",
    } <= set(client.services())


def test_a_pod_is_created_from_kubernetes_json_and_listed(client: GrpcClient, name: str) -> None:
    (created,) = client.call("ursa.core.v1.Pods/Create", {"object": pod(name)})
    assert created["metadata"]["uid"] and int(created["metadata"]["resourceVersion"]) > 0
    assert created["spec"]["terminationGracePeriodSeconds"] == 5
    assert created["spec"]["containers"][0]["ports"][0]["containerPort"] == 80
    assert created["spec"]["restartPolicy"] == "Always"
    parts = client.call(
        "ursa.core.v1.Pods/List", {"tenant": TENANT, "namespace": "default", "labelSelector": f"app={name}"}
    )
    items = [item for part in parts for item in part.get("items", [])]
    assert [(item["metadata"]["name"], item["metadata"]["uid"]) for item in items] == [
        (name, created["metadata"]["uid"])
    ]
    assert items[0]["spec"] == created["spec"]
    assert int(parts[-1]["metadata"]["resourceVersion"]) >= int(created["metadata"]["resourceVersion"])


def test_a_watch_shows_the_state_then_every_change(client: GrpcClient, name: str) -> None:
    first, second = f"{name}-watched", f"{name}-later"
    client.call("ursa.core.v1.Pods/Create", {"object": pod(first)})
    request = {
        "tenant": TENANT,
        "namespace": "default",
        "sendInitialEvents": True,
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": True,
    }
    with client.stream("ursa.core.v1.Pods/Watch", request) as stream:
        stream.wait_for(_has("ADDED", first), within_s=20)
        stream.wait_for(lambda batch: batch.get("initialEventsEnd"), within_s=20)
        client.call("ursa.core.v1.Pods/Create", {"object": pod(second)})
        stream.wait_for(_has("ADDED", second), within_s=20)
        # Nothing is scheduled here, so the pod ends at once.
        client.call("ursa.core.v1.Pods/Delete", {"tenant": TENANT, "namespace": "default", "name": second})
        stream.wait_for(_has("DELETED", second), within_s=20)


def _has(event_type: str, name: str) -> Callable[[dict[str, Any]], bool]:
    def wanted(batch: dict[str, Any]) -> bool:
        return any(
            event["type"] == event_type and event["object"]["metadata"]["name"] == name
            for event in batch.get("events", [])
        )

    return wanted


def test_an_error_says_what_is_wrong(client: GrpcClient, name: str) -> None:
    bad = pod(f"{name}-bad")
    bad["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "-1"
    with pytest.raises(CallFailed) as refused:
        client.call("ursa.core.v1.Pods/Create", {"object": bad})
    assert "spec.containers[0].resources.requests" in str(refused.value)


def test_a_request_without_a_tenant_is_refused_by_name(client: GrpcClient) -> None:
    with pytest.raises(CallFailed) as refused:
        client.call("ursa.core.v1.Pods/List", {"namespace": "default"})
    assert "tenant" in str(refused.value)
