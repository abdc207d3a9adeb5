"""`gateway test`: runs the point tables' own cases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.tools.run_cases import run_cases

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print every failed expectation and a summary; return 1 if there is one."""
    _, point_map = load(arguments.config)
    failures = run_cases(point_map)
    for line in failures:
        print(line, file=sys.stderr)
    cases = point_map.cases
    expectations = sum(len(case.expect) for case in cases)
    print(f"cases: {len(cases)}, expectations: {expectations}, failures: {len(failures)}")
    return 1 if failures else 0
