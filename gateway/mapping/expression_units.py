"""Units of measure in an expression that do not go together."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.expressions import FUNCTIONS, Expression
from gateway.mapping.units import UnitProblem, standard_spelling, stated_unit_conversion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class UnitMismatch(NamedTuple):
    """Why units do not go together, and what to do.

    `is_certain`: the result would be wrong. A sum of different units may be intended, such as degC and K.
    """

    message: str
    is_certain: bool


def check_units(
    expression: Expression, units_by_name: Mapping[str, str | None], *, result_unit: str | None = None
) -> list[UnitMismatch]:
    """Return what is wrong with the published units of the points that an expression uses.

    Points without a unit fit everywhere. `result_unit` is what the result is published in; None: not checked.
    """
    tree = ast.parse(expression.code, mode="eval").body
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in FUNCTIONS:
            node.id = expression.names[int(node.id[1:])]
    units = _Units(units_by_name)
    unit = units.visit(tree)
    if unit is not None and result_unit is not None and not _go_together(unit, result_unit):
        message = f"the result is in {unit}, not in {result_unit}: write `unit: {unit}`, or convert it"
        units.mismatches.append(UnitMismatch(message, is_certain=True))
    return units.mismatches


class _Units(ast.NodeVisitor):
    """Finds the unit of each part of an expression: `visit` returns it, None if there is none to compare."""

    def __init__(self, units_by_name: Mapping[str, str | None]) -> None:
        self.mismatches: list[UnitMismatch] = []
        self._units_by_name = units_by_name

    def visit_Name(self, node: ast.Name) -> str | None:
        return self._units_by_name.get(node.id)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> str | None:
        unit: str | None = self.visit(node.operand)
        return None if isinstance(node.op, ast.Not) else unit

    def visit_BinOp(self, node: ast.BinOp) -> str | None:
        if isinstance(node.op, ast.Add | ast.Sub):
            return self._common_unit([node.left, node.right])
        self.generic_visit(node)
        return None

    def visit_Compare(self, node: ast.Compare) -> None:
        self._common_unit([node.left, *node.comparators])

    def visit_IfExp(self, node: ast.IfExp) -> str | None:
        self.visit(node.test)
        return self._common_unit([node.body, node.orelse])

    def visit_Call(self, node: ast.Call) -> str | None:
        name = ast.unparse(node.func)
        function = FUNCTIONS[name]
        if function.keeps_unit:
            return self._common_unit(node.args)
        for index, argument in enumerate(node.args):
            unit = self.visit(argument)
            if function.units and unit is not None:
                self._check_argument(name, function.units[index], argument, unit)
        return function.unit

    def _check_argument(self, function: str, needed: str, argument: ast.expr, unit: str) -> None:
        found = stated_unit_conversion(unit, needed)
        if found == (1, 0):
            return
        name = ast.unparse(argument)
        advice = f"use a point that is published in {needed}"
        if isinstance(argument, ast.Name) and not isinstance(found, UnitProblem):
            gain, offset = found
            advice += f", or write `{name} * {gain:.10g} {'-' if offset < 0 else '+'} {abs(offset):.10g}`"
        message = f"{function} needs {needed}, but {name} is in {unit}: {advice}"
        self.mismatches.append(UnitMismatch(message, is_certain=True))

    def _common_unit(self, nodes: Sequence[ast.expr]) -> str | None:
        """Return the unit of the first part that has one; all others should have the same."""
        units = [(node, self.visit(node)) for node in nodes]
        known = [(node, str(unit)) for node, unit in units if unit is not None]
        if not known:
            return None
        first, first_unit = known[0]
        for node, unit in known[1:]:
            if not _go_together(first_unit, unit):
                texts = f"{ast.unparse(first)} is in {first_unit}, {ast.unparse(node)} in {unit}"
                message = f"different units: {texts}; publish both in the same unit, or convert one of them"
                self.mismatches.append(UnitMismatch(message, is_certain=False))
        return first_unit


def _go_together(one: str, other: str) -> bool:
    """Return whether numbers of both units can be added; those of differences to absolute temperatures."""
    spelled = [standard_spelling(unit.removeprefix("delta_")) for unit in (one, other)]
    return set(spelled) <= {"degC", "K"} or stated_unit_conversion(*spelled) == (1, 0)
