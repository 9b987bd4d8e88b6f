"""Nodes that only live: how fast they join, what their heartbeats cost, and whether every one of them stays Ready.

A run counts only if no node was ever seen otherwise, and every lease was renewed, by etcd's own count, often enough.
Renewals are counted on three sides: what kubelets were told is stored, what servers say they took, what etcd has.
"""
