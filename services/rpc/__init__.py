"""gRPC as Ursa speaks it: channels, servers, credentials, health, reflection, and errors as rich statuses.

Every failure that crosses a process boundary is a ``StatusError`` here and a ``google.rpc.Status`` with details on the
wire, translated in one place. Nothing here knows what a pod or a node is: kinds come in as rows of the kinds table.
"""

import os

# Read by gRPC when it is first imported. Children of Ursa's processes are started by exec, never by fork alone, so
# gRPC's fork handlers have nothing to do but to warn on standard error.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
