"""How `--help` looks: what a command does, an example, exit codes."""

from __future__ import annotations

import argparse
from itertools import groupby
from textwrap import dedent


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph by itself, and leaves indented lines alone: those are commands to copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        first, _, rest = text.partition("\n")
        lines = [first, *dedent(rest).splitlines()]
        paragraphs = groupby(lines, key=lambda line: (not line.strip(), line.startswith(" ")))
        return "\n".join(
            "\n".join(group)
            if is_blank or is_command
            else super(HelpFormatter, self)._fill_text(" ".join(group), width, indent)
            for (is_blank, is_command), group in paragraphs
        )
