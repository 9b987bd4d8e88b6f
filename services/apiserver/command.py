"""The command line of a partition server, the same for both kinds of partition."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from services.apiserver import options
from services.base import config as configuration
from services.base.tasks import run_process

C = TypeVar("C")

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2


def main(program: str, shape: type[C], run: Callable[[C, asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Read the configuration, run until a signal, return the exit code. ``shape`` has ``watch_cache.off``."""
    parser = argparse.ArgumentParser(prog=program, description=f"Serves one {program.replace('-', ' ')}'s API.")
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
        config: Any = configuration.load(arguments.config, shape, tuple(arguments.set))
        off = options.caches_off(config.watch_cache.off, arguments.watch_cache)
        config = replace(config, watch_cache=replace(config.watch_cache, off=off))
    except configuration.ConfigError as failure:
        print(f"{program}: {failure}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    code = 0
    try:
        run_process(lambda stopping: run(config, stopping))
    except* OSError as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"{program}: {first}", file=sys.stderr)
        code = EXIT_FAILED
    return code
