"""`gateway doctor`: examines the whole installation, one line per check, and says what to do.

It reads settings, point tables and secrets, asks Infodeck, the brokers and the public address, and the
gateway if that runs. It changes nothing.

    gateway doctor -c config/gateway.yaml

Exit code 0: no problem, though there may be warnings; 1: at least one problem.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, read_config
from gateway.doctor.checks import CHECKS, DaemonThreads, examine
from gateway.doctor.diagnosis import Level, Results, count_levels, render_json, render_text
from gateway.doctor.facts import Facts
from gateway.doctor.machine_checks import settings_findings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.doctor.checks import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="send no request to Infodeck or the public address",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; return 1 if there is a problem, 0 if there are only warnings or none."""
    loaded = read_config(arguments.config)
    document, settings = loaded.settings, loaded.settings.remains.value
    broken = {str(one.steps[0]) for one in document.problems if one.steps}
    possible = [check for check in CHECKS if settings is not None and not check.needs & broken]
    chosen = [check for check in possible if not (arguments.offline and check.asks_infodeck)]
    left_out = [check.name for check in CHECKS if check not in possible]
    about_settings = settings_findings(arguments.config, settings, document.problems, left_out)
    results: Results = {"settings": about_settings}
    if settings is not None:
        facts = Facts(
            settings=settings,
            point_map=loaded.point_map,
            table_problems=loaded.problems[len(document.problems) :],
            table_warnings=loaded.warnings,
            broken=broken,
        )
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(DaemonThreads())
            results |= runner.run(_examine(facts, chosen, is_offline=arguments.offline))
    render = render_json if arguments.format == "json" else render_text
    print(render(results, left_out=len(possible) - len(chosen)))
    return 1 if count_levels(results)[Level.PROBLEM] else 0


async def _examine(facts: Facts, checks: Sequence[Check], *, is_offline: bool) -> Results:
    await facts.gather(is_offline=is_offline)
    return await examine(facts, checks)
