"""The ``ursa`` command: everything that a person does with a cluster.

Two halves: ``onebox`` starts and watches a whole cluster on this machine, the rest are kubectl's verbs against running
partitions. No other room imports this one, and heavy imports happen inside the commands so that help is quick.
"""
