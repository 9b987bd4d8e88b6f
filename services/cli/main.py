"""The ``ursa`` command. ``main`` is the console script."""

from __future__ import annotations

import os
import pathlib
import sys
import traceback
from typing import Annotated

import typer

from services.cli import commands, hollow_commands, logs_command, onebox_commands, options
from services.cli.errors import REFUSED, CliError

EPILOG = (
    "Exit codes: 0 done; 1 refused, not found or failed; 2 wrong usage; 3 a partition did not answer"
    " (what others said was printed). URSA_DEBUG=1 shows stack traces."
)
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
onebox_commands.register(app)
hollow_commands.register(app)
commands.register(app)
logs_command.register(app)


@app.callback()
def ursa(context: options.ContextFile = None) -> None:
    """A cluster control plane that scales out by partition. `ursa up` starts one on this machine."""
    if context is not None:
        os.environ["URSA_CONTEXT"] = str(context)


@app.command(rich_help_panel=options.MORE)
def version(
    output: Annotated[options.StatusFormat, typer.Option("--output", "-o", help="How to print.")] = (
        options.StatusFormat.TABLE
    ),
) -> None:
    """The versions of ursa, Python and etcd."""
    from services.cli import versions

    versions.show(output.value)


def _mount_bench() -> None:
    # The benchmark lives in its own room and brings heavy imports: only when it is asked for, or in the help.
    if not (pathlib.Path(__file__).parents[1] / "bench" / "cli.py").exists():
        return
    from services.bench.cli import app as bench

    app.add_typer(bench, name="bench", rich_help_panel=options.MORE)


def main() -> None:
    """Run the command line; never returns."""
    if len(sys.argv) < 2 or sys.argv[1] == "bench" or sys.argv[1].startswith("-"):
        _mount_bench()
    try:
        app()
    except CliError as failure:
        _fail(failure.lines(), failure.exit_code)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of a pipe has gone (`ursa get pods | head`): nothing to say, and no second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(REFUSED) from None
    except BaseExceptionGroup as group:
        known = [error for error in _leaves(group) if isinstance(error, CliError)]
        if not known:
            _crash(group)
        _fail(known[0].lines(), known[0].exit_code)
    except Exception as failure:
        _crash(failure)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _fail(lines: list[str], code: int) -> None:
    if os.environ.get("URSA_DEBUG"):
        traceback.print_exc()
    for line in lines:
        print(line, file=sys.stderr)
    raise SystemExit(code)


def _crash(failure: BaseException) -> None:
    what = f"{type(failure).__name__}: {failure}"
    _fail([f"error: this is a bug in ursa: {what}", "hint: URSA_DEBUG=1 shows where it happened"], REFUSED)


if __name__ == "__main__":
    main()
