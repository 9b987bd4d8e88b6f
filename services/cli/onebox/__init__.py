"""A whole cluster on one machine: ``ursa up``, ``down``, ``status`` and ``logs``.

``plan`` turns options into components as pure values, ``supervisor`` is the detached process that runs them,
``control`` is the socket between the two. Only processes that the supervisor started are ever ended.
"""
