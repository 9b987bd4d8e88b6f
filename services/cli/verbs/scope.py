"""Whose objects a verb is about: the tenant and namespace that the command line, the environment or a file names."""

from __future__ import annotations

from dataclasses import dataclass

from services.api.kinds import Kind, Scope
from services.cli.cluster import ALL_TENANTS, SYSTEM_TENANT, Cluster
from services.cli.errors import UsageError

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True)
class Where:
    """``tenant`` and ``namespace`` are empty when not given."""

    tenant: str = ""
    namespace: str = ""
    all_tenants: bool = False
    all_namespaces: bool = False

    def check(self) -> None:
        """Raises ``UsageError`` for options that contradict each other."""
        if self.tenant == ALL_TENANTS:
            raise UsageError("--tenant '*' is written --all-tenants")

    @property
    def every_namespace(self) -> bool:
        """All tenants means all of their namespaces unless one is named."""
        return self.all_namespaces or (self.all_tenants and not self.namespace)

    async def tenant_for(self, kind: Kind, cluster: Cluster, *, many: bool = True) -> str:
        """The request's ``tenant`` field. Raises ``UsageError`` when one is needed and none was chosen."""
        if kind.scope is Scope.CLUSTER:
            return ""
        if many and self.all_tenants:
            return ALL_TENANTS
        if self.tenant:
            return self.tenant
        known = [name for name in await cluster.tenants() if name != SYSTEM_TENANT]
        none = "there is none yet; `ursa create tenant NAME` makes one"
        choices = f"tenants: {', '.join(known[:20])}" if known else none
        every = ", or all with --all-tenants" if many else ""
        raise UsageError(
            f"{kind.resource} belong to a tenant, and none was chosen",
            hint=f"choose one with --tenant NAME or URSA_TENANT{every}; {choices}",
        )

    def namespace_for(self, kind: Kind, *, many: bool = True) -> str:
        """The request's ``namespace`` field: empty for all (only when ``many``) and for kinds without."""
        if kind.scope is not Scope.NAMESPACED or (many and self.every_namespace):
            return ""
        return self.namespace or DEFAULT_NAMESPACE
