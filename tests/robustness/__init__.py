"""Histories: many clients, real processes, random faults; what everybody saw is recorded and then judged.

``driver`` runs it, ``history`` is the record, ``validators`` are pure functions from a history to violations, one per
guarantee of docs/semantics.md. ``python -m tests.robustness`` is the command; docs/robustness.md explains it.
"""
