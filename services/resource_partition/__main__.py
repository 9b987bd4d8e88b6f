"""``python -m services.resource_partition --config FILE [--set section.field=value ...] [--watch-cache off]``"""

from __future__ import annotations

from services.apiserver import command
from services.resource_partition import app
from services.resource_partition.config import Config

if __name__ == "__main__":
    raise SystemExit(command.main("resource-partition", Config, app.run))
