"""Pydantic's errors as problems: users' words, one message where several alternatives failed."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from gateway.config.problems import MISSING, FieldError, Location, Problem, path_text
from gateway.config.yaml_tree import Node, child, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError

    from gateway.config.yaml_tree import Path

_KEY = "[key]"  # pydantic's last step where the key of a mapping is meant, not its value
_UNKNOWN_KEY = "unexpected_keyword_argument"
_REQUIRED = frozenset({"missing", "union_tag_not_found"})
_CHOICES = frozenset({"literal_error", "enum", "union_tag_invalid"})
_KINDS = {
    **dict.fromkeys(("string_type", "path_type"), "text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "dataclass_type"), "a mapping"),
    "none_required": "nothing",
}
_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs {min_length} or more entries, has {actual_length}",
    "too_long": "takes {max_length} entries at most, has more",
    "string_too_short": "needs {min_length} or more characters",
    "string_too_long": "takes {max_length} characters at most",
    "string_pattern_mismatch": "must match {pattern}",
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One error of pydantic, at `path` in the file.

    `labels` are the alternatives that pydantic tried on the way, each with its depth in the path.
    """

    path: Path
    type: str
    message: str
    value: object
    labels: tuple[tuple[int, str], ...] = ()
    is_key: bool = False
    context: dict[str, Any] = field(default_factory=dict)


def problems_of(error: ValidationError, shape: Any, *, root: Node, file: str) -> list[Problem]:
    """Return everything that `error` says about the file, in no particular order."""
    keys = _KnownKeys(shape, root)
    findings = list(_merge([_finding(detail, root) for detail in error.errors(include_url=False)]))
    meant = {(*one.path[:-1], keys.closest(one.path)) for one in findings if one.type == _UNKNOWN_KEY}
    return [
        _problem(finding, keys, root, file)
        for finding in findings
        if not (finding.type in _REQUIRED and finding.path in meant) and not _is_miscounted(finding)
    ]


def _is_miscounted(finding: _Finding) -> bool:
    """Return whether a list is long enough: pydantic counts entries only as far as they are right."""
    entries = finding.value if isinstance(finding.value, list) else []
    return finding.type == "too_short" and len(entries) >= finding.context["min_length"]


def _finding(detail: Any, root: Node) -> _Finding:
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    path, labels = _split(loc[:-1] if kind == "missing" else loc, root)
    message, value = detail["msg"], detail["input"]
    if kind == "missing":
        path += (loc[-1],)
    elif "discriminator" in context:
        path += (context["discriminator"].strip("'"),)
        value, context = context.get("tag", value), {"expected": context.get("expected_tags")}
    reason = context.get("error")
    if reason is not None:
        message = str(reason)
    if isinstance(reason, FieldError):
        path += reason.at
        value = MISSING if reason.secret else reason.value if reason.at else value
    is_key = kind == _UNKNOWN_KEY or loc[-1:] == (_KEY,)
    return _Finding(path, kind, message, value, labels, is_key, context)


def _split(loc: Iterable[str | int], root: Node) -> tuple[Path, tuple[tuple[int, str], ...]]:
    """Part the steps that exist in the file from pydantic's own."""
    path: list[str | int] = []
    labels: list[tuple[int, str]] = []
    node = root
    for step in loc:
        inner = child(node, step)
        if inner is not None:
            path.append(step)
            node = inner
        elif step != _KEY:
            labels.append((len(path), str(step)))
    return tuple(path), tuple(labels)


def _merge(findings: Iterable[_Finding], depth: int = 0) -> Iterator[_Finding]:
    """Yield the findings of one alternative for each union; `depth` unions lie behind us."""
    unions: dict[Path, dict[str, list[_Finding]]] = {}
    for finding in findings:
        if len(finding.labels) <= depth:
            yield finding
        else:
            at, label = finding.labels[depth]
            unions.setdefault(finding.path[:at], {}).setdefault(label, []).append(finding)
    for path, alternatives in unions.items():
        yield from _merge(_closest(path, list(alternatives.values())), depth + 1)


def _closest(path: Path, alternatives: list[list[_Finding]]) -> list[_Finding]:
    """Return the findings of the alternative that the user most likely meant, or one finding about all."""
    meant = [
        findings
        for findings in alternatives
        if not all(finding.path == path and _is_wrong_kind(finding) for finding in findings)
    ]
    if meant or len(alternatives) == 1:
        return min(meant or alternatives, key=len)
    all_findings = [finding for findings in alternatives for finding in findings]
    return [_Finding(path, "union", _expectation(all_findings), all_findings[0].value)]


def _is_wrong_kind(finding: _Finding) -> bool:
    unread = finding.type == "value_error" and not isinstance(finding.value, dict | list)
    return unread or finding.type in _KINDS or finding.type in _CHOICES


def _expectation(findings: list[_Finding]) -> str:
    """Return one sentence about everything that would have been right."""
    nouns: list[str] = []
    sentences: list[str] = []
    for finding in findings:
        if finding.type in _KINDS:
            nouns.append(_KINDS[finding.type])
        elif finding.type in _CHOICES:
            nouns += _choices(finding)
        else:
            sentences.append(finding.message)
    if "a number" in nouns:
        nouns = [noun for noun in nouns if noun != "a whole number"]
    if nouns:
        *others, last = dict.fromkeys(nouns)
        text = f"{', '.join(others)} or {last}" if others else last
        sentences.insert(0, f"{'one of ' if others and len(findings) == 1 else ''}{text} is expected")
    return "; or ".join(dict.fromkeys(sentences))


def _choices(finding: _Finding) -> list[str]:
    """Return the words that pydantic lists as `'a', 'b' or 'c'`, with true and false as in YAML."""
    words = re.split(", | or ", finding.context["expected"].replace("'", ""))
    return [word.lower() if word in {"True", "False"} else word for word in words]


def _problem(finding: _Finding, keys: _KnownKeys, root: Node, file: str) -> Problem:
    value = finding.value
    is_about_several_keys = finding.type == "value_error" and isinstance(value, dict)
    if finding.type in _REQUIRED or finding.type == _UNKNOWN_KEY or is_about_several_keys:
        value = MISSING
    message = keys.advice(finding.path) if finding.type == _UNKNOWN_KEY else _message(finding)
    place = Location(file, *place_of(root, finding.path, key=finding.is_key))
    return Problem(place, path_text(finding.path), message, value, finding.path)


def _message(finding: _Finding) -> str:
    kind = finding.type
    if kind in _REQUIRED:
        is_entry = isinstance(finding.path[-1], int)
        return "one more entry is expected" if is_entry else "this key is required"
    if kind == "string_type" and isinstance(finding.value, bool | int | float):
        return "text is expected; put quotes around it"
    if kind in _KINDS or kind in _CHOICES:
        return _expectation([finding])
    if kind in _LIMITS:
        return _LIMITS[kind].format_map(finding.context)
    text = finding.message.replace("Input should be", "must be")
    return text if kind == "value_error" else text[:1].lower() + text[1:]


class _KeysGenerator(GenerateJsonSchema):
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's own type


@dataclass
class _KnownKeys:
    """The keys that a shape knows at each place of a file, taken from its JSON Schema."""

    _shape: Any
    _root: Node

    def advice(self, path: Path) -> str:
        """Return what to write instead of the unknown key that `path` ends with."""
        known = self._beside(path)
        if (close := self.closest(path)) is not None:
            return f"unknown key, did you mean `{close}`?"
        return f"unknown key; known here: {', '.join(known)}" if known else "unknown key"

    def closest(self, path: Path) -> str | None:
        """Return the known key that is most like the last one of `path`, capitals or not."""
        close = difflib.get_close_matches(str(path[-1]).lower(), self._beside(path), n=1)
        return close[0] if close else None

    def _beside(self, path: Path) -> list[str]:
        schemas, node = self._choices([_schema_of(self._shape)], self._root), self._root
        for step in path[:-1]:
            node = child(node, step) or node
            schemas = self._choices([inner for one in schemas for inner in _below(one, step)], node)
        return [key for schema in schemas for key in schema.get("properties", ())]

    def _choices(self, schemas: list[dict[str, Any]], node: Node) -> list[dict[str, Any]]:
        """Return the schemas that can be meant by a node, without references and alternatives."""
        found: list[dict[str, Any]] = []
        for schema in schemas:
            if "$ref" in schema:
                inner = [_schema_of(self._shape)["$defs"][schema["$ref"].rpartition("/")[2]]]
            else:
                inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
            if inner:
                found += self._choices(inner, node)
            elif _is_of_type(schema, node):
                found.append(schema)
        return found


@cache
def _schema_of(shape: Any) -> dict[str, Any]:
    return TypeAdapter(shape).json_schema(schema_generator=_KeysGenerator)


def _below(schema: dict[str, Any], step: str | int) -> list[dict[str, Any]]:
    """Return the schemas of what a key or a position leads to."""
    if isinstance(step, int):
        found = [schema.get("items"), *schema.get("prefixItems", ())[step : step + 1]]
    else:
        inner = schema.get("properties", {}).get(step)
        found = [inner] if inner else [schema.get("additionalProperties")]
        found += schema.get("patternProperties", {}).values()
    return [one for one in found if isinstance(one, dict)]


def _is_of_type(schema: dict[str, Any], node: Node) -> bool:
    """Return whether a schema fits the `type` that is written, where it takes one alone."""
    wanted = schema.get("properties", {}).get("type", {}).get("const")
    written = child(node, "type")
    return wanted is None or written is None or written.value == wanted
