"""Syntax errors of the YAML parser in users' words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

NO_TAGS = "tags are not supported; put quotes around text that starts with !"
NO_BREAK_SPACE = "a no-break space, or the like, stands here; write an ordinary space in its place"
ODD_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_ODD_SPACE = re.compile(f"(?:^ *|[:,{{\\[-] *)([{ODD_SPACES}])")  # where YAML needs a space, not within text
_NO_SPACE = re.compile(r"[\w$.-]+:[^\s:]")
_LONE_KEY = re.compile(r"[^\s:#{}\[\],]+$")
_KEY_AND_VALUE = re.compile(r"[\w$.-]+ [^:]+")
_BULLET = re.compile(r"(?:-|[\u2010-\u2015\u2022\u2023\u00b7] *)[\w$.]+:")  # -key: and \u2022 key:
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
    if space := _odd_space(lines, error.context_mark or mark, mark):
        return *space, f"not valid YAML: {NO_BREAK_SPACE}"
    if "expected ':'" in problem and error.context_mark:
        line, column = error.context_mark.line + 1, error.context_mark.column + 1
    elif "end of stream" in problem and error.context_mark:
        mark = error.context_mark
        return mark.line + 1, mark.column + 1, "not valid YAML: the quote that opens here is never closed"
    elif re.search("mapping values|expected key", problem) and (above := _slip_above(lines, line)):
        return above
    return line, column, f"not valid YAML: {_cause(error, problem, lines, line, column)}"


def _cause(error: yaml.MarkedYAMLError, problem: str, lines: list[str], line: int, column: int) -> str:
    """Return what is wrong at a place, where the parser says `problem`."""
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    if rest.startswith("\t"):
        problem = "a tab cannot indent; use spaces"
    elif rest[:1] in {"@", "`", "%"}:
        problem = f"put quotes around text that starts with {rest[0]}"
    elif "expected ','" in problem and error.context_mark:
        problem = _unclosed(error.context_mark, line, rest, lines)
    elif "tag" in problem:
        problem = NO_TAGS
    elif "expected ':'" in problem:
        problem = _no_colon(rest)
    elif "mapping values" in problem:
        problem = "a second `: ` on this line, or wrong indentation; put quotes around text with a colon"
    elif "character" in problem:
        problem = "a character that cannot stand here"
    elif "did not find expected" in problem:
        problem = _misplaced(lines, line, column) or problem
    return problem


def _misplaced(lines: list[str], line: int, column: int) -> str | None:
    """Return why the text at a place belongs to nothing, or None if that is not clear."""
    text = lines[line - 1] if line <= len(lines) else ""
    before, rest = text[: column - 1], text[column - 1 :]
    if rest[:1] in {"]", "}"}:
        return f"this {rest[0]} closes nothing: there is one too many"
    if before[-1:] in {"'", '"'}:
        return "text follows a closing quote; close every quote, and write a ' within '...' twice"
    return None if before.strip() else "wrong indentation: this line belongs to none of those above"


def _odd_space(lines: list[str], first: yaml.Mark | None, last: yaml.Mark | None) -> tuple[int, int] | None:
    """Return line and column of what only looks like a space in lines that the parser did not understand."""
    if first is None or last is None:
        return None
    for number in range(first.line, min(last.line + 1, len(lines))):
        if found := _ODD_SPACE.search(lines[number]):
            return number + 1, found.start(1) + 1
    return None


def _no_colon(rest: str) -> str:
    """Return what is wrong with a key that seems to lack its colon."""
    if _NO_SPACE.match(rest):
        return "a space is missing behind the colon: `key: value`"
    return "a colon is missing here, behind the key: `key: value`"


def _slip_above(lines: list[str], line: int) -> tuple[int, int, str] | None:
    """Return the place of a slip that makes one text of a line above and this one, and what it is."""
    numbers = [number for number in range(1, min(line, len(lines)) + 1) if not _is_blank(lines[number - 1])]
    if line not in numbers[1:]:
        return None
    *before, number, _ = numbers
    above = lines[number - 1].strip()
    place = number, lines[number - 1].index(above) + 1
    if _BULLET.match(above):
        return *place, "not valid YAML: a hyphen and a space begin an entry of a list: `- key: value`"
    text = above.removeprefix("- ")
    is_beside = lines[number - 1].index(text) == _indent(lines[line - 1])
    is_first = text != above or (bool(before) and lines[before[-1] - 1].rstrip().endswith(":"))
    if _LONE_KEY.fullmatch(text) or (is_beside and is_first and _KEY_AND_VALUE.fullmatch(text)):
        return *place, "not valid YAML: the colon behind this key is missing"
    return None


def _is_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unclosed(opening: yaml.Mark, line_number: int, rest: str, lines: list[str]) -> str:
    """Return what is wrong inside brackets opened at `opening`; the parser stops at `rest` of a line."""
    if rest[:1] in {"[", "{"} and line_number == opening.line + 1:
        return "put quotes around text with [, ], { or } inside braces or brackets"
    line = lines[opening.line]
    bracket = line[opening.column : opening.column + 1]
    closing = {"{": "}", "[": "]"}.get(bracket, "bracket")
    place = f"line {opening.line + 1}, column {opening.column + 1}"
    return f"`,` or the closing {closing} is missing here, for the {bracket} at {place}"
