"""``python -m services.controllers --config FILE [--set section.field=value ...]``

The file's section ``[resource_partition]`` or ``[tenant_partition]`` says which controllers it runs.
"""

from __future__ import annotations

import argparse
import sys

from services.base import config as files
from services.base.tasks import run_process
from services.controllers import app, tenant_config, tenant_manager
from services.controllers.tenant_config import TenantControllersConfig


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.controllers", description="The controller manager of a resource or tenant partition."
    )
    parser.add_argument("--config", required=True, help="TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="section.field=value", help="override a field")
    arguments = parser.parse_args()
    try:
        config = tenant_config.load(arguments.config, tuple(arguments.set))
    except files.ConfigError as failure:
        print(failure, file=sys.stderr)
        return 2
    if isinstance(config, TenantControllersConfig):
        run_process(lambda stopping: tenant_manager.run(config, stopping))
    else:
        run_process(lambda stopping: app.run(config, stopping))
    return 0


if __name__ == "__main__":
    sys.exit(main())
