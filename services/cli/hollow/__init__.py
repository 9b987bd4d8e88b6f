"""``ursa hollow``: hollow nodes that join a running cluster from this terminal, and what can be done to them.

The nodes live in a process of their own (``python -m services.kubelet``); this room writes its configuration, shows
how it does, and ends it.
"""
