"""Nodes that die and return, under the controller manager of their partition, on a fake clock."""
