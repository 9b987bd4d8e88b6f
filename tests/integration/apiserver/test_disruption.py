"""A tenant partition keeps the status of its disruption budgets."""

from __future__ import annotations

from typing import Any

from services.api import kinds, manifests
from services.api.kinds import POD_DISRUPTION_BUDGETS
from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget
from tests.integration.apiserver.world import World, eventually, named, pod


def budget(tenant: str, namespace: str = "default") -> Any:
    made = named(POD_DISRUPTION_BUDGETS, "web", tenant=tenant, namespace=namespace)
    made.spec.min_available.number_value = 1
    made.spec.selector.match_labels["app"] = "web"
    return made


async def numbers(world: World, tenant: str) -> tuple[int, int, int] | None:
    """(expected, healthy, allowed), once the status is of the current spec."""
    found: PodDisruptionBudget = await world.tp.clients.resource(POD_DISRUPTION_BUDGETS).get(
        "web", tenant=tenant, namespace="default"
    )
    if found.status.observed_generation != found.metadata.generation:
        return None
    return found.status.expected_pods, found.status.current_healthy, found.status.disruptions_allowed


async def test_the_status_follows_the_pods_of_the_budgets_namespace(world: World, acme: str) -> None:
    clients = world.tp.clients

    async def becomes(expected: tuple[int, int, int]) -> None:
        async def check() -> bool:
            return await numbers(world, acme) == expected

        await eventually(check)

    await clients.resource(POD_DISRUPTION_BUDGETS).create(budget(acme))
    await becomes((0, 0, 0))
    for name in ("a", "b"):
        made = await clients.pods.create(pod(acme, name, labels={"app": "web"}))
        made.status.conditions.add(type="Ready", status="True")
        await clients.pods.update_status(made)
    await clients.pods.create(pod(acme, "other", labels={"app": "db"}))
    await becomes((2, 2, 1))
    await clients.pods.delete("b", tenant=acme, namespace="default", grace_period_seconds=0)
    await becomes((1, 1, 0))
    # A budget that comes back is worked out again from the pods that are there.
    await clients.resource(kinds.POD_DISRUPTION_BUDGETS).delete("web", tenant=acme, namespace="default")
    await clients.resource(kinds.POD_DISRUPTION_BUDGETS).create(budget(acme))
    await becomes((1, 1, 0))


async def test_what_may_be_missing_is_counted_from_what_the_replica_set_wants(world: World, acme: str) -> None:
    clients = world.tp.clients
    sets = clients.resource(kinds.REPLICA_SETS)
    wanted = manifests.parse_json(
        kinds.REPLICA_SETS,
        {
            "metadata": {"name": "web", "tenant": acme, "namespace": "default"},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
                },
            },
        },
    )
    owner = await sets.create(wanted)
    for name in ("a", "b"):
        made = pod(acme, name, labels={"app": "web"})
        made.metadata.owner_references.add(
            api_version="apps/v1", kind="ReplicaSet", name="web", uid=owner.metadata.uid, controller=True
        )
        made = await clients.pods.create(made)
        made.status.conditions.add(type="Ready", status="True")
        await clients.pods.update_status(made)
    relative = budget(acme)
    relative.spec.ClearField("min_available")
    relative.spec.max_unavailable.string_value = "50%"
    await clients.resource(POD_DISRUPTION_BUDGETS).create(relative)

    async def becomes(expected: tuple[int, int, int]) -> None:
        async def check() -> bool:
            return await numbers(world, acme) == expected

        await eventually(check)

    await becomes((4, 2, 0))  # of 4 pods 2 may be missing, and are
    await sets.patch("web", '{"spec": {"replicas": 2}}', tenant=acme, namespace="default")
    await becomes((2, 2, 1))
