"""A tenant partition: the API server over everything that tenants write, with binding and the tenants' lifecycle.

``app`` wires it up and is the only place where a concrete store is chosen.
"""
