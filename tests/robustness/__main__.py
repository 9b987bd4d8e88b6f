"""``python -m tests.robustness [--seed N] [--minutes M] [--keep DIR]``, or ``--judge HISTORY`` to look at one again."""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import secrets
import shutil
import sys
import tempfile

from tests.robustness import driver, report
from tests.robustness.history import Begun, load
from tests.support import etcd_binaries


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what chance decides; another one each time by default")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults are injected")
    parser.add_argument("--faults", default="", metavar="REGEX", help="only faults whose name matches")
    parser.add_argument("--members", type=int, choices=(1, 3), default=1, help="of etcd")
    parser.add_argument(
        "--etcd", choices=("own", "trusted"), default="own", help="this machine's, or Debian's 3.5.16, which is fetched"
    )
    parser.add_argument("--keep", type=pathlib.Path, help="directory for history, logs and data, kept in any case")
    parser.add_argument("--judge", type=pathlib.Path, metavar="HISTORY", help="judge a recorded history, run nothing")
    arguments = parser.parse_args()
    if arguments.judge:
        return _judge(arguments.judge)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    directory = arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="ursa-robustness-"))
    directory.mkdir(parents=True, exist_ok=True)
    binary = etcd_binaries.trusted() if arguments.etcd == "trusted" else ""
    plan = driver.plan_of(
        seed, arguments.minutes * 60.0, faults=arguments.faults, members=arguments.members, binary=binary
    )
    print(f"seed {seed}, {arguments.minutes} min, {plan.settings}, in {directory}", flush=True)
    path, _ = asyncio.run(driver.run(plan, directory))
    code = _judge(path)
    if not code and not arguments.keep:
        shutil.rmtree(directory)
    return code


def _judge(path: pathlib.Path) -> int:
    history = load(path)
    begun = history.of(Begun)
    verdict = report.judge(history)
    print(report.describe(history, verdict, path, begun[0].seed if begun else 0))
    return 1 if report.failed(verdict) else 0


if __name__ == "__main__":
    sys.exit(main())
