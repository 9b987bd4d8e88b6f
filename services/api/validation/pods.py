"""Rules of pods (Kubernetes ``ValidatePodSpec``), and what an update may change."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from services.api import names
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodDNSConfig, PodSecurityContext, PodSpec, PodStatus
from services.api.validation.affinity import affinity_faults, spread_faults, tolerations_faults
from services.api.validation.containers import containers_faults, is_ip, profile_faults
from services.api.validation.differences import difference_paths
from services.api.validation.metadata import labels_faults
from services.api.validation.resources import list_faults
from services.api.validation.violations import (
    FieldViolation,
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    non_negative,
    one_of,
    required,
    under,
)
from services.api.validation.volumes import volumes_faults

RESTART_POLICIES = frozenset(("Always", "OnFailure", "Never"))
DNS_POLICIES = frozenset(("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"))
PREEMPTION_POLICIES = frozenset(("PreemptLowerPriority", "Never"))
TERMINAL_PHASES = frozenset(("Succeeded", "Failed"))
PHASES = frozenset(("Pending", "Running", "Succeeded", "Failed", "Unknown"))
SPECS_REMEMBERED = 1024
SPEC_BYTES_REMEMBERED = 16 * 1024
MUTABLE_SPEC = (
    "spec.containers[*].image, spec.initContainers[*].image, spec.activeDeadlineSeconds, spec.tolerations (additions) "
    "and spec.schedulingGates (removals)"
)


def create_faults(pod: Pod) -> Violations:
    found = spec_faults(pod)
    if pod.spec.scheduling_gates and pod.spec.node_name:
        found.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found + status_faults(pod.status)


def spec_faults(pod: Pod) -> Violations:
    """The spec by itself; paths start at the object's root."""
    stored = pod.spec.SerializeToString(deterministic=True)
    # Pods of one template have one spec: ten thousand of them are looked at once.
    return list(_remembered(stored)) if len(stored) <= SPEC_BYTES_REMEMBERED else _spec(pod.spec)


@lru_cache(maxsize=SPECS_REMEMBERED)
def _remembered(stored: bytes) -> tuple[FieldViolation, ...]:
    return tuple(_spec(PodSpec.FromString(stored)))


def _spec(spec: PodSpec) -> Violations:
    found = containers_faults(spec)
    if spec.volumes:
        found += under("volumes", volumes_faults(spec.volumes))
    found += _policies(spec) + _names(spec) + _placement(spec)
    if spec.HasField("security_context"):
        found += under("securityContext", _security(spec.security_context))
    if spec.HasField("dns_config"):
        found += under("dnsConfig", _dns_config(spec.dns_config))
    if spec.dns_policy == "None" and not spec.dns_config.nameservers:
        found.append(
            required("dnsConfig.nameservers", "must provide at least one DNS nameserver when dnsPolicy is None")
        )
    found += _host(spec)
    return under("spec", found) if found else found


def _policies(spec: PodSpec) -> Violations:
    found = one_of("restartPolicy", spec.restart_policy, RESTART_POLICIES)
    found += one_of("dnsPolicy", spec.dns_policy, DNS_POLICIES)
    found += one_of("preemptionPolicy", spec.preemption_policy, PREEMPTION_POLICIES, optional=True)
    found += non_negative("terminationGracePeriodSeconds", spec.termination_grace_period_seconds)
    if spec.HasField("active_deadline_seconds") and spec.active_deadline_seconds < 1:
        found.append(invalid("activeDeadlineSeconds", spec.active_deadline_seconds, "must be greater than 0"))
    if spec.HasField("os"):
        found += one_of("os.name", spec.os.name, ("linux", "windows"))
    return found


def _names(spec: PodSpec) -> Violations:
    found: Violations = []
    for field, name in (
        ("nodeName", spec.node_name),
        ("serviceAccountName", spec.service_account_name),
        ("priorityClassName", spec.priority_class_name),
        ("runtimeClassName", spec.runtime_class_name),
        ("schedulerName", spec.scheduler_name),
    ):
        if name:
            found += faults(field, name, names.dns_subdomain(name))
    for field, name in (
        ("hostname", spec.hostname),
        ("subdomain", spec.subdomain),
        ("resourcePartition", spec.resource_partition),
    ):
        if name:
            found += faults(field, name, names.dns_label(name))
    for index, reference in enumerate(spec.image_pull_secrets):
        if not reference.name:
            found.append(required(f"imagePullSecrets[{index}].name"))
    return found


def _placement(spec: PodSpec) -> Violations:
    found = labels_faults("nodeSelector", spec.node_selector)
    if spec.HasField("affinity"):
        found += under("affinity", affinity_faults(spec.affinity))
    if spec.tolerations:
        wrong = tolerations_faults(spec.tolerations)
        if wrong:
            found += under("tolerations", wrong)
    if spec.topology_spread_constraints:
        found += under("topologySpreadConstraints", spread_faults(spec.topology_spread_constraints))
    if spec.overhead:
        found += list_faults("overhead", spec.overhead)
    found += _gates("schedulingGates", "name", (gate.name for gate in spec.scheduling_gates))
    return found + _gates("readinessGates", "conditionType", (gate.condition_type for gate in spec.readiness_gates))


def _gates(field: str, key: str, gates: Iterable[str]) -> Violations:
    found: Violations = []
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        here = f"{field}[{index}].{key}"
        found += faults(here, gate, names.qualified_name(gate)) if gate else [required(here)]
        if gate in seen:
            found.append(duplicate(here, gate))
        seen.add(gate)
    return found


def _security(context: PodSecurityContext) -> Violations:
    found: Violations = []
    for field, value in (
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ):
        found += non_negative(field, value)
    for index, group in enumerate(context.supplemental_groups):
        found += non_negative(f"supplementalGroups[{index}]", group)
    seen: set[str] = set()
    for index, sysctl in enumerate(context.sysctls):
        if not sysctl.name:
            found.append(required(f"sysctls[{index}].name"))
        elif sysctl.name in seen:
            found.append(duplicate(f"sysctls[{index}].name", sysctl.name))
        seen.add(sysctl.name)
    policy = context.fs_group_change_policy
    found += one_of("fsGroupChangePolicy", policy, ("OnRootMismatch", "Always"), optional=True)
    if context.HasField("seccomp_profile"):
        found += under("seccompProfile", profile_faults(context.seccomp_profile))
    if context.HasField("app_armor_profile"):
        found += under("appArmorProfile", profile_faults(context.app_armor_profile))
    return found


def _dns_config(config: PodDNSConfig) -> Violations:
    found: Violations = []
    if len(config.nameservers) > 3:
        found.append(invalid("nameservers", len(config.nameservers), "must not have more than 3 nameservers"))
    for index, server in enumerate(config.nameservers):
        if not is_ip(server):
            found.append(invalid(f"nameservers[{index}]", server, "must be a valid IP address"))
    if len(config.searches) > 32:
        found.append(invalid("searches", len(config.searches), "must not have more than 32 search paths"))
    for index, option in enumerate(config.options):
        if not option.name:
            found.append(required(f"options[{index}].name"))
    return found


def _host(spec: PodSpec) -> Violations:
    found: Violations = []
    if spec.host_pid and spec.share_process_namespace:
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid("shareProcessNamespace", True, detail))
    for index, alias in enumerate(spec.host_aliases):
        if not is_ip(alias.ip):
            found.append(invalid(f"hostAliases[{index}].ip", alias.ip, "must be a valid IP address"))
        for at, hostname in enumerate(alias.hostnames):
            found += faults(f"hostAliases[{index}].hostnames[{at}]", hostname, names.dns_subdomain(hostname))
    return found


def status_faults(status: PodStatus) -> Violations:
    found = one_of("phase", status.phase, PHASES, optional=True)
    if status.nominated_node_name:
        found += faults(
            "nominatedNodeName", status.nominated_node_name, names.dns_subdomain(status.nominated_node_name)
        )
    partition = status.nominated_resource_partition
    if partition:
        found += faults("nominatedResourcePartition", partition, names.dns_label(partition))
        if not status.nominated_node_name:
            found.append(required("nominatedNodeName", "nominatedResourcePartition without a node"))
    for index, container in enumerate(status.container_statuses):
        found += non_negative(f"containerStatuses[{index}].restartCount", container.restart_count)
    return under("status", found) if found else found


def update_faults(new: Pod, old: Pod) -> Violations:
    """A pod's spec is fixed but for a few fields; binding and status go through their own methods."""
    found = status_faults(new.status) + _phase(new.status, old.status) if new.status != old.status else []
    if new.spec == old.spec:
        return found
    found += spec_faults(new) + _deadline(new.spec, old.spec) + _tolerations(new.spec, old.spec)
    found += _scheduling_gates(new.spec, old.spec)
    same = PodSpec()
    same.CopyFrom(new.spec)
    _put_back_mutable(same, old.spec)
    for path in difference_paths(same, old.spec, "spec"):
        found.append(forbidden(path, f"pod updates may not change fields other than {MUTABLE_SPEC}"))
    return found


def _phase(new: PodStatus, old: PodStatus) -> Violations:
    """Unlike Kubernetes: a pod that has ended stays so, for its capacity claim has ended with it."""
    if old.phase not in TERMINAL_PHASES or new.phase in TERMINAL_PHASES:
        return []
    return [forbidden("status.phase", f"a pod that has ended ({old.phase}) cannot be {new.phase or 'of no phase'}")]


def _put_back_mutable(spec: PodSpec, old: PodSpec) -> None:
    for mine, theirs in ((spec.containers, old.containers), (spec.init_containers, old.init_containers)):
        for container, before in zip(mine, theirs, strict=False):
            container.image = before.image
    del spec.tolerations[:]
    spec.tolerations.extend(old.tolerations)
    if old.HasField("active_deadline_seconds"):
        spec.active_deadline_seconds = old.active_deadline_seconds
    else:
        spec.ClearField("active_deadline_seconds")
    gated = bool(old.scheduling_gates)
    del spec.scheduling_gates[:]
    spec.scheduling_gates.extend(old.scheduling_gates)
    if gated and all(spec.node_selector.get(key) == value for key, value in old.node_selector.items()):
        # Nobody has looked at a gated pod yet: its selector may still become narrower (KEP-3838).
        spec.node_selector.clear()
        spec.node_selector.update(old.node_selector)


def _deadline(new: PodSpec, old: PodSpec) -> Violations:
    if not old.HasField("active_deadline_seconds"):
        return []
    if not new.HasField("active_deadline_seconds"):
        return [invalid("spec.activeDeadlineSeconds", "", "must not be removed")]
    if new.active_deadline_seconds > old.active_deadline_seconds:
        detail = f"must be less than or equal to previous value {old.active_deadline_seconds}"
        return [invalid("spec.activeDeadlineSeconds", new.active_deadline_seconds, detail)]
    return []


def _tolerations(new: PodSpec, old: PodSpec) -> Violations:
    """Tolerations may be added, and an existing one may change its ``tolerationSeconds`` only."""
    if new.tolerations == old.tolerations:
        return []
    kept = {(item.key, item.operator, item.value, item.effect) for item in new.tolerations}
    return [
        forbidden("spec.tolerations", f"existing toleration {item.key or '*'}:{item.effect or '*'} may not be removed")
        for item in old.tolerations
        if (item.key, item.operator, item.value, item.effect) not in kept
    ]


def _scheduling_gates(new: PodSpec, old: PodSpec) -> Violations:
    before = {gate.name for gate in old.scheduling_gates}
    return [
        forbidden(f"spec.schedulingGates[{index}].name", "only deletion is allowed: gates may not be added")
        for index, gate in enumerate(new.scheduling_gates)
        if gate.name not in before
    ]
