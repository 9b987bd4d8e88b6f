"""``ursa version``."""

from __future__ import annotations

import importlib.metadata
import json
import platform

from services.cli.onebox import launch
from services.cli.onebox.home import Home


def show(format: str) -> None:
    """Print what is running this command, and the etcd that the one-box here was last started with."""
    found = {
        "ursa": importlib.metadata.version("ursa"),
        "python": platform.python_version(),
        "grpc": importlib.metadata.version("grpcio"),
        "protobuf": importlib.metadata.version("protobuf"),
    }
    etcd = launch.recorded_etcd(Home.at(None))
    if etcd:
        found["etcd"] = etcd
    if format == "table":
        for name, version in found.items():
            print(f"{name:<9} {version}")
    elif format == "json":
        print(json.dumps(found, indent=4))
    else:
        for name, version in found.items():
            print(f"{name}: {version}")
