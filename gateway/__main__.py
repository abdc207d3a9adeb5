"""`gateway`, also `python -m gateway`: runs a command, and shows errors without a traceback."""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import nullcontext
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, TextIO

from gateway import __version__
from gateway.cli.terminal import HelpFormatter, print_failure, problems_of, sanitised_output
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "demo",
    "run",
    "check",
    "test",
    "points",
    "discover",
    "import",
    "diff",
    "explain",
    "lock",
    "send",
    "status",
    "doctor",
    "simulate",
    "force",
    "release",
    "backup",
    "nats",
    "deadletters",
    "alarms",
    "retained",
    "webhooks",
    "schema",
)

_DRAWING = frozenset(
    {"demo", "run", "simulate"}
)  # with a screen, a log in colours, a line that is overwritten
_DAEMON = "run"  # its messages belong to its log
_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_OUTPUT_CUT = 141  # 128 + SIGPIPE; never 0, or `gateway check 2>&1 | head` would look like success
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
_EXIT_CODES = (
    "Exit codes: 0 done; 1 not done, or something is wrong: what it is was printed; 2 the command line is not"
    " understood. `gateway COMMAND --help` says more."
)


def main() -> None:
    """Run the command named on the command line, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        _allow_all_characters(stream)
    named = [name for name in sys.argv[1:2] if name in COMMANDS]
    try:
        arguments = parser(*named).parse_args()  # imports the command, which takes a while
        with nullcontext() if arguments.draws else sanitised_output():
            code = _code_of(arguments)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _code_of(arguments: argparse.Namespace) -> int:
    """Run the command and report an error; return the exit code."""
    try:
        code: int = arguments.run(arguments)
        print(end="", flush=True)  # nowhere, if a shell has closed the output
    except GatewayError as error:
        _report(str(error), arguments, problems=problems_of(error))
        return 1
    except BrokenPipeError:  # the reader of our output has ended: `gateway points | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OUTPUT_CUT
    except Exception as error:
        if os.environ.get("GATEWAY_DEBUG"):
            raise
        _report(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a fault of the gateway, please report it; GATEWAY_DEBUG=1 shows where it happened.",
            arguments,
        )
        return _INTERNAL_ERROR
    return code


def _report(reason: str, arguments: argparse.Namespace, *, problems: Sequence[str] = ()) -> None:
    """Report why a command failed: in the terminal, or in the log of a daemon without one."""
    if arguments.logs and not sys.stderr.isatty():
        from gateway.logs import log_failure  # noqa: PLC0415 - other commands do without

        log_failure(reason, problems)
    else:
        print_failure(reason, problems)


def _allow_all_characters(stream: TextIO) -> None:
    """Show characters that a terminal's encoding lacks as escapes; write UTF-8 to files and pipes."""
    if isinstance(stream, io.TextIOWrapper):
        encoding = stream.encoding if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def parser(*names: str) -> argparse.ArgumentParser:
    """Return the parser of these commands, or of all; other commands are not imported."""
    top = argparse.ArgumentParser(
        prog="gateway",
        description="Joins Infodeck's signed telemetry webhooks to a building's MQTT and Modbus.",
        epilog=_EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names or COMMANDS:
        module = import_module(f"gateway.cli.{name}{'_' if iskeyword(name) else ''}")
        summary = (module.__doc__ or "").partition(": ")[2].splitlines()[0].rstrip(".")
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=HelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, draws=name in _DRAWING, logs=name == _DAEMON)
    return top


if __name__ == "__main__":
    main()
