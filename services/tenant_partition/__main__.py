"""``python -m services.tenant_partition --config FILE [--set section.field=value ...] [--watch-cache off]``"""

from __future__ import annotations

from services.apiserver import command
from services.tenant_partition import app
from services.tenant_partition.config import Config

if __name__ == "__main__":
    raise SystemExit(command.main("tenant-partition", Config, app.run))
