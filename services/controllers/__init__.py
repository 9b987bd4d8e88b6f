"""Controllers: one file each, a pure ``decide(state) -> actions`` and a thin loop around it.

They reach a partition through a port (a protocol each states) or through clients, never through a store.
"""
