"""The kubelet: registers its node, renews its lease, and runs the pods that any tenant partition binds to the node.

``Kubelet`` is synchronous: events in, instructions out; ``Host`` is the thin asynchronous shell that carries
instructions out for one node or for tens of thousands. Containers are the business of a ``Runtime``; ``HollowRuntime``
pretends. Every pod is answered on the partition that it came from, and one partition that is down delays no other.
"""
