"""The pure parts of the node controllers."""
