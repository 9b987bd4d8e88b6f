"""Ursa: a cluster control plane that scales out by partition. Import root; path equals module."""
