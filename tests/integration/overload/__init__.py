"""Storms against a partition server in a process of its own."""
