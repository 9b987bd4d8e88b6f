"""The etcd backend: stores over one etcd cluster, driven through the stubs in ``aetcd.rpc`` on a channel of our own.

Every write goes through group commit (many independent conditional writes in one transaction, one raft entry) and has
a definite outcome as long as etcd comes back in time. Feeds resume after the last complete revision, whatever breaks.
"""

from services.storage.etcd.backend import EtcdBackend
from services.storage.etcd.config import EtcdConfig
from services.storage.etcd.status import EtcdStatus

__all__ = ["EtcdBackend", "EtcdConfig", "EtcdStatus"]
