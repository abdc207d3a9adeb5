"""`gateway doctor`: examines the whole installation, one line per check, and says what to do.

It reads settings, point tables and secrets, asks Infodeck, the brokers and the public address, and the
gateway if that runs. It changes nothing.

    gateway doctor -c config/gateway.yaml

Exit code 0: no problem, though there may be warnings; 1: at least one problem.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING

from gateway.cli.loading import LoadedConfig, add_config_argument, read_config
from gateway.clock import now_ms
from gateway.doctor.checks import CHECKS, Check, DaemonThreads, examine
from gateway.doctor.diagnosis import Result, has_problem, render_json, render_text
from gateway.doctor.file_checks import settings_findings
from gateway.doctor.setup import Setup

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

_UNBOUNDED = 10_000  # characters a line, where no terminal limits it: one finding, one line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="ask nobody on the internet: neither Infodeck nor the public address",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; return 1 if there is a problem, 0 if there are only warnings or none."""
    loaded = read_config(arguments.config)
    document = loaded.settings
    broken = {str(one.steps[0]) for one in document.problems if one.steps}
    possible = [check for check in CHECKS if not check.needs & broken] if document.remains.value else []
    chosen = [check for check in possible if not (arguments.offline and check.asks_infodeck)]
    left_out = [check.name for check in CHECKS if check not in possible]
    about_settings = settings_findings(arguments.config, document.remains.value, document.problems, left_out)
    results = [
        Result("settings", tuple(about_settings)),
        *_examined(loaded, chosen, broken=broken, is_offline=arguments.offline),
    ]
    offline = len(possible) - len(chosen)
    if arguments.format == "json":
        print(render_json(results, left_out=offline))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED
        print(render_text(results, left_out=offline, width=width))
    return 1 if has_problem(results) else 0


def _examined(
    loaded: LoadedConfig, checks: Sequence[Check], *, broken: Collection[str], is_offline: bool
) -> list[Result]:
    settings = loaded.settings.remains.value
    if settings is None:
        return []
    setup = Setup(
        settings=settings,
        point_map=loaded.point_map,
        table_problems=loaded.problems[len(loaded.settings.problems) :],
        warnings=loaded.warnings,
        is_offline=is_offline,
        broken=broken,
        clock_ms=now_ms,
    )
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(DaemonThreads())
        return runner.run(examine(setup, checks))
