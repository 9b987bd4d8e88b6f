"""The life of nodes: who is alive, who is tainted, and whose pods go elsewhere.

A node is lost only after a whole grace period that this process has provably watched (``proof``); what it could not
see counts for nothing. Taints follow the conditions at a limited rate per zone, and pods leave tainted nodes by a queue
of each tenant partition: one that is out of reach delays no other, and is never taken for an empty one.
"""
