"""Controllers: each is a pure ``decide`` and a thin loop around it.

They reach a partition through a port (a protocol each states) or through clients, never through a store. Termination
and garbage collection run inside the partition servers (ADR 6); what needs clients of several partitions runs in the
controller manager of a resource partition (``python -m services.controllers``).
"""
