"""Pydantic's findings as problems: users' words, one message where several alternatives failed."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gateway.config.problems import MISSING, FieldError, Location, Problem, path_text
from gateway.config.yaml_tree import Node, Sequence, child, place_of

if TYPE_CHECKING:
    from collections import abc
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError

_KEY = "[key]"  # pydantic's last step where the key of a mapping is meant, not its value
_UNKNOWN_KEY = "unexpected_keyword_argument"
_COMMA = re.compile(r"[-+]?\d+,\d+")
_REQUIRED = frozenset({"missing", "union_tag_not_found"})
_CHOICES = frozenset({"literal_error", "enum", "union_tag_invalid"})
_KINDS = {
    "string_type": "text",
    "path_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
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

    `labels` are the steps of `loc` that do not exist in the file, with the depth at which they
    stand: the names of alternatives that pydantic tried.
    """

    path: tuple[str | int, ...]
    type: str
    message: str
    value: object
    labels: tuple[tuple[int, str], ...] = ()
    loc: tuple[str | int, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)


def problems_of(error: ValidationError, *, schema: Any, root: Node, file: str) -> list[Problem]:
    """Return everything that `error` says about the file, in no particular order."""
    findings = list(_merge([_finding(detail, root) for detail in error.errors(include_url=False)]))
    meant = {(*finding.path[:-1], key) for finding in findings if (key := _meant_key(finding, schema))}
    return [
        _problem(finding, schema=schema, root=root, file=file)
        for finding in findings
        if (finding.type not in _REQUIRED or finding.path not in meant) and not _is_miscounted(finding)
    ]


def _is_miscounted(finding: _Finding) -> bool:
    """Return whether a list is long enough: pydantic counts entries only as far as they are right."""
    return (
        finding.type == "too_short"
        and isinstance(finding.value, list)
        and len(finding.value) >= finding.context["min_length"]
    )


def _meant_key(finding: _Finding, schema: Any) -> str | None:
    """Return the known key that an unknown one is taken for, which then is not missed besides."""
    if finding.type != _UNKNOWN_KEY:
        return None
    return _close_key(str(finding.loc[-1]), known_keys(schema, finding.loc))


def _close_key(key: str, known: list[str]) -> str | None:
    """Return the known key that is most like this one, capitals or not; all known ones have none."""
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return close[0] if close else None


def _finding(detail: Any, root: Node) -> _Finding:
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    path, labels = _split(loc[:-1] if kind == "missing" else loc, root)
    message, value = detail["msg"], detail["input"]
    if kind == "missing":
        path += (loc[-1],)
    elif kind == "union_tag_not_found":
        path += (context["discriminator"].strip("'"),)
    elif kind == "union_tag_invalid":
        path += (context["discriminator"].strip("'"),)
        value, context = context["tag"], {"expected": context["expected_tags"]}
    reason = context.get("error")
    if reason is not None:
        message = str(reason)
    if isinstance(reason, FieldError):
        path += reason.at
        value = MISSING if reason.secret else reason.value if reason.at else value
    return _Finding(path, kind, message, value, labels, loc, context)


def _split(loc: Iterable[str | int], root: Node) -> tuple[tuple[str | int, ...], tuple[tuple[int, str], ...]]:
    """Part the steps that exist in the file from pydantic's own."""
    path: list[str | int] = []
    labels: list[tuple[int, str]] = []
    node = root
    for step in loc:
        inner = child(node, step)
        if inner is None and step != _KEY:
            labels.append((len(path), str(step)))
        elif inner is not None:
            path.append(step)
            node = inner
    return tuple(path), tuple(labels)


def _merge(findings: Iterable[_Finding], depth: int = 0) -> Iterator[_Finding]:
    """Yield the findings of one alternative for each union; `depth` unions lie behind us."""
    unions: dict[tuple[str | int, ...], dict[str, list[_Finding]]] = {}
    for finding in findings:
        if len(finding.labels) <= depth:
            yield finding
        else:
            at, label = finding.labels[depth]
            unions.setdefault(finding.path[:at], {}).setdefault(label, []).append(finding)
    for path, alternatives in unions.items():
        yield from _merge(_closest(path, list(alternatives.values())), depth + 1)


def _closest(path: tuple[str | int, ...], alternatives: list[list[_Finding]]) -> list[_Finding]:
    """Return the findings of the alternative that the user most likely meant, or one about all."""
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


def _expectation(findings: abc.Sequence[_Finding]) -> str:
    """Return one sentence about everything that would have been right."""
    nouns: dict[str, None] = {}  # a set that keeps its order
    sentences: dict[str, None] = {}
    for finding in findings:
        if finding.type in _KINDS:
            nouns[_KINDS[finding.type]] = None
        elif finding.type in _CHOICES:
            nouns |= dict.fromkeys(_choices(finding))
        else:
            sentences[finding.message] = None
    if "a number" in nouns:
        nouns.pop("a whole number", None)
    if nouns:
        *others, last = nouns
        text = f"{', '.join(others)} or {last}" if others else last
        one_of = "one of " if others and len(findings) == 1 else ""
        sentences = {f"{one_of}{text} is expected": None} | sentences
    return "; or ".join(sentences)


def _choices(finding: _Finding) -> list[str]:
    """Return the words that pydantic lists as `'a', 'b' or 'c'`, with true and false as in YAML."""
    words = re.split(", | or ", finding.context["expected"].replace("'", ""))
    return [word.lower() if word in {"True", "False"} else word for word in words]


def _problem(finding: _Finding, *, schema: Any, root: Node, file: str) -> Problem:
    value = finding.value
    is_key = finding.type == _UNKNOWN_KEY or finding.loc[-1:] == (_KEY,)
    is_about_several_keys = finding.type == "value_error" and isinstance(value, dict)
    if finding.type in _REQUIRED or finding.type == _UNKNOWN_KEY or is_about_several_keys:
        value = MISSING
    message = (
        _unknown_key(str(finding.loc[-1]), known_keys(schema, finding.loc))
        if finding.type == _UNKNOWN_KEY
        else _message(finding)
    )
    if _has_decimal_comma(finding, root):
        message += "; a number has a decimal point, not a comma"
    if finding.type == "dataclass_type" and finding.path and value is not None:
        message += f"; known there: {', '.join(known_keys(schema, (*finding.loc, '')))}"
    line, column = place_of(root, finding.path, key=is_key)
    return Problem(Location(file, line, column), path_text(finding.path), message, value, finding.path)


def _has_decimal_comma(finding: _Finding, root: Node) -> bool:
    """Return whether "0,5" stands where a number is expected, or [0,5, 30] where two are."""
    if isinstance(finding.value, str):
        return finding.type != "value_error" and _COMMA.fullmatch(finding.value) is not None
    node: Node | None = root
    for step in finding.path:
        node = child(node, step)
    return (
        finding.type == "too_long"
        and isinstance(node, Sequence)
        and any(
            type(one.value) is int and two.column == one.column + len(str(one.value)) + 1
            for one, two in pairwise(node.children)
        )
    )


def _unknown_key(key: str, known: list[str]) -> str:
    word, _, rest = re.sub("[: ]", " ", key).partition(" ")
    if rest and word in known:
        missing = "space is missing behind the colon" if ":" in key else f"colon is missing behind `{word}`"
        return f"unknown key: a {missing}"
    if close := _close_key(key, known):
        return f"unknown key, did you mean `{close}`?"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key"


def _message(finding: _Finding) -> str:
    kind, value = finding.type, finding.value
    if kind in _REQUIRED:
        is_entry = isinstance(finding.path[-1], int)
        return "one more entry is expected" if is_entry else "this key is required"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "text is expected; put quotes around it"
    if kind in _KINDS or kind in _CHOICES:
        return _expectation([finding])
    if kind in _LIMITS:
        return _LIMITS[kind].format_map(finding.context)
    text = finding.message.replace("Input should be", "must be")
    return text if kind == "value_error" else text[:1].lower() + text[1:]


def known_keys(schema: Any, loc: abc.Sequence[str | int]) -> list[str]:
    """Return the keys that stand beside the last step of `loc`, a place as pydantic's errors have it.

    Empty where the shape does not list its keys.
    """
    definitions: dict[str, Any] = {}
    for fields in _mappings_at(schema, list(loc[:-1]), definitions):
        return [_key_of(field) for field in fields]
    return []


def _mappings_at(
    schema: Any, steps: list[str | int], definitions: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the fields of every dataclass that `steps` can lead to."""
    if schema["type"] == "dataclass-args" and not steps:
        yield schema["fields"]
    for inner in _unwrapped(schema, definitions):
        yield from _mappings_at(inner, steps, definitions)
    for inner in _one_step_in(schema, steps[0]) if steps else ():
        yield from _mappings_at(inner, steps[1:], definitions)


def _unwrapped(schema: Any, definitions: dict[str, Any]) -> list[Any]:
    """Return what stands at the same place in the file, one layer further in."""
    match schema:
        case {"type": "definitions", "schema": inner}:
            definitions |= {definition["ref"]: definition for definition in schema["definitions"]}
            return [inner]
        case {"type": "definition-ref", "schema_ref": reference}:
            return [definitions[reference]]
        case {"type": "json-or-python", "json_schema": inner}:
            return [inner]
        case {"schema": inner}:  # a default, None allowed, validators, the dataclass around its keys
            return [inner]
    return []


def _one_step_in(schema: Any, step: str | int) -> list[Any]:
    """Return what one step of a `loc` leads to: a key, an index, or the label of an alternative."""
    match schema:
        case {"type": "dataclass-args", "fields": fields}:
            return [field["schema"] for field in fields if step in {field["name"], _key_of(field)}]
        case {"type": "tuple", "items_schema": choices}:
            return list(choices)
        case {"values_schema": inner} | {"items_schema": inner}:  # dict, list, set
            return [inner]
        case {"type": "union"}:
            return _union_choices(schema, step)
        case {"type": "tagged-union", "choices": choices}:
            return [choices[step]] if step in choices else []
    return []


def _union_choices(schema: Any, label: str | int) -> list[Any]:
    """Return the choices of a union that `label` can mean, dataclasses by their name."""
    choices = [choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
    return [choice for choice in choices if _class_name(choice) == label] or choices


def _class_name(schema: Any) -> str | None:
    return schema["cls"].__name__ if schema["type"] == "dataclass" else None


def _key_of(field: dict[str, Any]) -> str:
    return str(field.get("validation_alias", field["name"]))
