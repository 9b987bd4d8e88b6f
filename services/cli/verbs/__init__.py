"""kubectl's verbs against partitions: each file is one verb, a coroutine over a ``Cluster`` and a request."""
