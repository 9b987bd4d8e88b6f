"""The API server: one generic servicer for every kind, driven by the kinds table, over any ``ResourceStore``.

It promises Kubernetes' semantics of reads, writes and watches, and serves objects in the wire form in which they are
stored: Get, List and Watch never decode one. It names no concrete store; a partition's ``app.py`` wires it up.
"""
