"""A resource partition: the API server over the machines: nodes, their leases, and who is placed where.

``app`` wires it up and is the only place where a concrete store is chosen.
"""
