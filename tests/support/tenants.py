"""Tenants for tests that are about something else."""

from __future__ import annotations

import asyncio
import time

import grpc

from services.api.pb.ursa.meta.v1.meta_pb2 import ObjectMeta
from services.api.pb.ursa.tenancy.v1.tenancy_pb2 import Tenant
from services.client.clientset import Clientset
from services.rpc.status import StatusError


async def make_tenant(clients: Clientset, name: str, *, within_s: float = 30.0) -> None:
    """Create it, at last. Raises ``StatusError``.

    Its placement is written elsewhere first, and has two seconds for that: where its server does not listen yet or its
    disk stands still, the answer is UNAVAILABLE, and rightly so. The next attempt may find what that one has made.
    """
    deadline = time.monotonic() + within_s
    again = False
    while True:
        try:
            await clients.tenants.create(Tenant(metadata=ObjectMeta(name=name)))
            return
        except StatusError as error:
            if again and error.reason == "AlreadyExists":
                return
            if error.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
        again = True
        await asyncio.sleep(0.05)
