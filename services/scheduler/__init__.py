"""The scheduler of one tenant partition: it places the partition's pods on the nodes of every resource partition.

``core`` decides (snapshot in, plan out: synchronous, no I/O), ``queue`` says whose turn it is, ``loop`` carries plans
out by batched, compare-and-swap binds, ``app`` wires the process. Two schedulers at once are safe: a pod is bound once.
"""
