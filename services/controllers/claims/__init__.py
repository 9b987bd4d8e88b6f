"""Reconciliation of capacity claims: every claim of a resource partition ends once its pod can no longer need it.

Informers of claims and pods are hints that say *when* to ask; the tenant partition's answer to BatchRevokeBind, an
irreversible fact, is the only thing that ends a claim. A tenant partition that does not answer keeps its claims, and
delays no other.
"""
