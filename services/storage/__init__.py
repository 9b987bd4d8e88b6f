"""Storage of one partition: one ``ResourceStore`` per resource type, over memory, etcd, or a watch cache before either.

``interface`` states what callers may rely on, ``errors`` what can go wrong, ``testing`` holds the conformance suite
that every store passes. Which concrete store is used is decided where a partition is wired, nowhere else.
"""
