"""The API as values: generated messages, the table of kinds, keys, selectors, quantities, manifests and their rules.

Everything here is synchronous and does no I/O. A message's JSON form is Kubernetes' JSON form; its stored form is the
canonical bytes of ``wire``.
"""
