"""How every process of Ursa talks to partitions: typed clients, multiplexed watches, informers, partition directories.

Everything here is per partition: a resource version, a watch position or a continue token never leaves the connection
it came from, and one partition that cannot be reached delays no other. An unreachable partition is *stale*, never
empty: what was known about it stays, marked, until it answers again or its partition object is removed.
"""
