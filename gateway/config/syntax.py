"""What the YAML parser refuses, in users' words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

NO_TAGS = "tags are not supported; put quotes around text that starts with !"
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?= |\r?$)", re.MULTILINE)
_UNFINISHED_MERGE = (
    "a conflict of a git merge is left here; keep what is right of it, and remove the lines <<<<<<<, ======="
    " and >>>>>>>"
)


def syntax_problem(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Return line, column and message; the parser stops at the first mistake of this kind."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "unknown mistake"
    if conflict := _CONFLICT.search(text):
        return text.count("\n", 0, conflict.start()) + 1, 1, f"not valid YAML: {_UNFINISHED_MERGE}"
    lines = text.splitlines()
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    if rest.startswith("\t"):
        problem = "a tab cannot indent; use spaces"
    elif rest[:1] in {"@", "`", "%"}:
        problem = f"put quotes around text that starts with {rest[0]}"
    elif "expected ','" in problem and error.context_mark:
        problem = _unclosed(error.context_mark, rest, text)
    elif "tag" in problem:
        problem = NO_TAGS
    elif "mapping values" in problem:
        problem = "a second `: ` on this line, or wrong indentation; put quotes around text with a colon"
    elif "character" in problem:
        problem = "a character that cannot stand here"
    elif error.context:
        problem = f"{error.context}, {problem}"
    return line, column, f"not valid YAML: {problem}"


def _unclosed(opening: yaml.Mark, rest: str, text: str) -> str:
    """Say what is wrong inside brackets that begin at `opening`, where `rest` of a line is not understood."""
    if rest[:1] in {"[", "{"}:
        return "put quotes around text with [, ], { or } inside braces or brackets"
    line = text.splitlines()[opening.line]
    bracket = line[opening.column : opening.column + 1]
    closing = {"{": "}", "[": "]"}.get(bracket, "bracket")
    place = f"line {opening.line + 1}, column {opening.column + 1}"
    return f"`,` or the closing {closing} is missing here, for the {bracket} at {place}"
