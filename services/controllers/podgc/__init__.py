"""Pod garbage collection of a tenant partition: pods that nobody else will end.

What has finished, above a number; what is bound to a node that its resource partition says is deleted; what is being
deleted and was never bound; what is being deleted on a node that is out of service. A partition that does not answer,
or that nobody knows any more, is no proof: its pods stay, and are counted.
"""
