"""Ursa: a cluster control plane that scales out by partition. Import root; path equals module."""

import os

# gRPC reads these when it is first imported, by whichever package here does so: so they are set before any.
# Children of Ursa's processes are started by exec, never by fork alone, so gRPC's fork handlers have nothing to do but
# to warn on standard error.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# Without its event engine a call that comes alone costs a quarter less CPU at each end (docs/adr/0016).
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
