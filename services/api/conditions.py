"""Reasons of conditions by which components know each other's writes."""

from __future__ import annotations

NODE_NOT_READY = "NodeNotReady"
"""Of a pod's Ready = False: the node life cycle has marked it, as its node is not ready."""
