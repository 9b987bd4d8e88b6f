"""Generate ``services/api/pb`` from ``protos/``; with ``--check``, verify that the checked-in output is current.

protoc writes absolute imports (``from ursa.core.v1 import pod_pb2``); the messages live under ``services.api.pb``, so
the imports are rewritten to that root. Output is deterministic for one protoc version; the check compares text.
"""

from __future__ import annotations

import argparse
import importlib.resources
import pathlib
import re
import shutil
import sys
import tempfile

import google.rpc
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "services" / "api" / "pb"
PACKAGE = "services.api.pb"


def generate(target: pathlib.Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    googleapis = pathlib.Path(next(iter(google.rpc.__path__))).parent.parent
    wellknown = importlib.resources.files("grpc_tools") / "_proto"
    plugin = pathlib.Path(sys.executable).with_name("protoc-gen-mypy")
    code = protoc.main(
        [
            "protoc",
            *(f"-I{directory}" for directory in (PROTOS, wellknown, googleapis)),
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={target}",
            f"--mypy_out=quiet:{target}",
            *sources,
        ]
    )
    if code:
        raise SystemExit(code)
    for path in sorted([*target.rglob("*_pb2.py"), *target.rglob("*_pb2.pyi")]):
        path.write_text(re.sub(r"^from ursa\.", f"from {PACKAGE}.ursa.", path.read_text(), flags=re.M))
    for directory in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        (directory / "__init__.py").write_text('"""Generated from protos/ by tools/generate_api.py; do not edit."""\n')


def files(directory: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted([*directory.rglob("*.py"), *directory.rglob("*.pyi")])
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if services/api/pb is not what protos/ give")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        target = pathlib.Path(scratch)
        generate(target)
        fresh, present = files(target), files(OUTPUT) if OUTPUT.exists() else {}
        if arguments.check:
            stale = sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
            for name in stale:
                print(f"services/api/pb/{name} is not what protos/ give; run: make generate", file=sys.stderr)
            return 1 if stale else 0
        shutil.rmtree(OUTPUT, ignore_errors=True)
        shutil.copytree(target, OUTPUT)
        print(f"wrote {len(fresh)} files to services/api/pb")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
