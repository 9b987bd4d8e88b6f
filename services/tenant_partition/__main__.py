"""``python -m services.tenant_partition --config FILE [--set section.field=value ...] [--watch-cache off]``"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from services.apiserver import options
from services.base import config as configuration
from services.base.tasks import run_process
from services.tenant_partition import app
from services.tenant_partition.config import Config


def main() -> int:
    parser = argparse.ArgumentParser(prog="tenant-partition", description="Serves one tenant partition's API.")
    parser.add_argument("--config", required=True, help="TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override one field")
    parser.add_argument(
        "--watch-cache",
        action="append",
        default=[],
        metavar="off|RESOURCE=off",
        help="read everything, or one resource, straight from etcd; may be repeated",
    )
    arguments = parser.parse_args()
    try:
        config = configuration.load(arguments.config, Config, tuple(arguments.set))
        off = options.caches_off(config.watch_cache.off, arguments.watch_cache)
        config = replace(config, watch_cache=replace(config.watch_cache, off=off))
    except configuration.ConfigError as failure:
        print(f"tenant-partition: {failure}", file=sys.stderr)
        return 2
    code = 0
    try:
        run_process(lambda stopping: app.run(config, stopping))
    except* OSError as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"tenant-partition: {first}", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
