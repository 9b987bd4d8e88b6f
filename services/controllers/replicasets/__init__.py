"""The ReplicaSet controller of a tenant partition: every replica set has as many pods as it asks for.

What a replica set needs is decided from its pods as one watch shows them, and only when that watch has shown what was
written last; what is written goes out in batches that many replica sets share. A controller that dies midway leaves
nothing to clean up: the next one counts again.
"""
