"""``python -m services.controllers --config FILE [--set section.field=value ...]``"""

from __future__ import annotations

import argparse
import sys

from services.base import config as files
from services.base.tasks import run_process
from services.controllers import app
from services.controllers.config import ControllersConfig


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.controllers", description="The controller manager of a resource partition."
    )
    parser.add_argument("--config", required=True, help="TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="section.field=value", help="override a field")
    arguments = parser.parse_args()
    try:
        config = files.load(arguments.config, ControllersConfig, tuple(arguments.set))
    except files.ConfigError as failure:
        print(failure, file=sys.stderr)
        return 2
    run_process(lambda stopping: app.run(config, stopping))
    return 0


if __name__ == "__main__":
    sys.exit(main())
