"""``python -m services.kubelet --config FILE [--set section.field=value]...``"""

from __future__ import annotations

import argparse
import sys

from services.base.config import ConfigError
from services.base.tasks import STOP_PATIENCE_S, run_process
from services.kubelet import app
from services.kubelet.process import RootInUse


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
    code = 0
    try:
        # Nodes that are deleted on leaving take the time that their partitions take.
        patience_s = None if config.delete_on_exit else STOP_PATIENCE_S
        run_process(lambda stopping: app.run(config, stopping), stop_patience_s=patience_s)
    except* RootInUse as busy:
        print(f"kubelet: {_first(busy)}", file=sys.stderr)
        code = 1
    return code


def _first(group: BaseExceptionGroup[RootInUse]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
