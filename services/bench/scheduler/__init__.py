"""``ursa bench scheduler``: kube-scheduler's own scheduler_perf workload files, run unmodified against real processes.

``reader`` turns a file into test cases of ``opcodes``; ``run`` carries each workload out on a fresh cluster; what was
seen becomes figures (``results``), perf-dash's file (``perfdash``) and pages with plots (``page``). Semantics are those
of Kubernetes' ``test/integration/scheduler_perf`` (v1.32); where the effect is had in another way, the file says so.
"""
