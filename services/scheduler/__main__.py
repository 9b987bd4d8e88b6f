"""``python -m services.scheduler --config FILE [--set section.field=value ...]``"""

from __future__ import annotations

import argparse
import sys

from services.base import config as files
from services.base.tasks import run_process
from services.scheduler import app
from services.scheduler.config import SchedulerConfig
from services.scheduler.profiles import profiles_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.scheduler", description="The scheduler of a partition.")
    parser.add_argument("--config", required=True, help="TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="section.field=value", help="override a field")
    arguments = parser.parse_args()
    try:
        config = files.load(arguments.config, SchedulerConfig, tuple(arguments.set))
        profiles_of(config)
    except files.ConfigError as failure:
        print(failure, file=sys.stderr)
        return 2
    run_process(lambda stopping: app.run(config, stopping))
    return 0


if __name__ == "__main__":
    sys.exit(main())
