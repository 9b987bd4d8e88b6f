"""``python -m services.kubelet --config FILE [--set section.field=value]...``"""

from __future__ import annotations

import argparse
import sys

from services.base.config import ConfigError
from services.base.tasks import run_process
from services.kubelet import app


def main() -> int:
    """Exit code 2 for a configuration that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m services.kubelet", description="Ursa's kubelets, hollow or real")
    parser.add_argument("--config", required=True, help="the configuration file (TOML)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override one field")
    arguments = parser.parse_args()
    try:
        config = app.read_config(arguments.config, tuple(arguments.set))
    except ConfigError as failure:
        print(f"kubelet: {failure}", file=sys.stderr)
        return 2
    run_process(lambda stopping: app.run(config, stopping))
    return 0


if __name__ == "__main__":
    sys.exit(main())
