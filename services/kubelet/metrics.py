"""The kubelet's metrics; Kubernetes' names where the meaning is the same."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STARTED_PODS = Counter("kubelet_started_pods", "Pods whose containers were started for the first time")
RESTARTED_CONTAINERS = Counter("kubelet_restarted_containers", "Times that a pod's containers were started again")
RUNNING_PODS = Gauge("kubelet_running_pods", "Pods whose containers run now")
NODES = Gauge("kubelet_nodes", "Nodes that this process runs", ["partition"])
READY_NODES = Gauge("kubelet_ready_nodes", "Nodes of this process that their partition says are Ready", ["partition"])
DISTURBED_NODES = Gauge("kubelet_disturbed_nodes", "Hollow nodes that are dead, cut off or crashed now", ["kind"])
REJECTED_PODS = Counter("kubelet_rejected_pods", "Pods refused by admission on the node", ["reason"])
UNKNOWN_PODS = Counter(
    "kubelet_unknown_pods",
    "Events for a pod that this process does not know, or from a partition it is not of",
    ["source"],
)
STATUS_WRITES = Counter("kubelet_status_writes", "Pod status writes by outcome", ["partition", "outcome"])
REMOVALS = Counter("kubelet_pod_removals", "Confirmed pod deletions by outcome", ["partition", "outcome"])
CLAIMS = Counter(
    "kubelet_capacity_claims",
    "Claims made, or made sure of, for pods before they start, by what became of them",
    ["partition", "outcome"],
)
LEASE_RENEWALS = Counter("kubelet_lease_renewals", "Node lease renewals by outcome", ["partition", "outcome"])
NODE_REPORTS = Counter(
    "kubelet_node_reports", "Node writes by what was done and outcome", ["partition", "action", "outcome"]
)
EVENTS = Counter("kubelet_events", "Events sent, or dropped (they are best effort)", ["partition", "outcome"])
SERVED = Counter("kubelet_served_calls", "Calls of the process' own services by outcome", ["code"])
# kube-proxy's own names (pkg/proxy/metrics).
PROXY_SYNC_SECONDS = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "What it takes a hollow proxy to bring changes into its table",
    buckets=(1e-5, 1e-4, 1e-3, 0.01, 0.1, 1),
)
PROXY_PROGRAMMING_SECONDS = Histogram(
    "kubeproxy_network_programming_duration_seconds",
    "From a change's own trigger time to its being in a hollow proxy's table",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
PROXY_RULES = Gauge("kubeproxy_rules", "Rules in the tables of all hollow proxies of this process")
START_SECONDS = Histogram(
    "kubelet_pod_start_duration_seconds",
    "From the pod's first sight on the node to its containers running",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
