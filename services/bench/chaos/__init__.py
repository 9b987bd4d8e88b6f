"""Chaos: a cluster under steady load loses machines, processes and links in turn, and what everybody saw is judged.

``load`` and ``faults`` act, ``recorder`` and ``watchers`` write down facts, ``validators`` are pure functions from a
history to violations. A run is valid only if a correct cluster could have produced its history.
"""
