"""The language of `expr`: what it computes, what it refuses and where, and that it never raises."""

from __future__ import annotations

import math
import operator
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mapping.convert import round_decimals
from gateway.mapping.expression_units import check_units
from gateway.mapping.expressions import (
    FUNCTIONS,
    Expression,
    ExpressionError,
    compile_expression,
    is_condition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

POINTS = {
    "ZN-T": 21.5,
    "ZN-RH": 50.0,
    "CHWS-T": 6.0,
    "CHWR-T": 12.0,
    "FAN": True,
    "OFF": False,
    "1ST.FLOW": 2.0,
}
OTHERS = {"RM1/ZN-T": 19.0, "Zone temp": 18.0, "ZN-T-SP": 21.0, "RM1": 100.0, "min": 1.0}
VALUES: dict[str, float | bool] = POINTS | OTHERS


def compute(text: str) -> float | bool | None:
    """Return an expression's result for VALUES."""
    expression = compile_expression(text, VALUES)
    return expression.evaluate([VALUES[name] for name in expression.names])


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("-(2 - 5) % 2", 1),
        (".5 + 1e-1 + 2E2", 200.6),
        ("ZN-T - 0.4", 21.1),
        ("21.8 - 0.4", 21.4),
        ("ZN-T - ZN-T-SP", 0.5),
        ("ZN-T-SP*2", 42),
        ("RM1/ZN-T", 19),
        ("RM1 / ZN-T", 4.6511627906977),
        ("Zone temp+1", 19),
        ("1ST.FLOW*4.19*(CHWR-T - CHWS-T)", 50.28),
        ("2/4-1", -0.5),
        ("18 < ZN-T <= 21.5", True),
        ("ZN-T != 21.5 or FAN", True),
        ("not FAN", False),
        ("ZN-T and FAN", True),
        ("0 or 0.0", False),
        ("FAN", True),
        ("FAN + FAN", 2),
        ("ZN-T if FAN and not OFF else 0", 21.5),
        ("1 / 0 if OFF else 5", 5),
        ("min(ZN-T, 4, 7) + max(1, 2)", 6),
        ("abs(-3) + sqrt(16) + exp(0) + log(1)", 8),
        ("round(2.5) + round(-2.5) + round(1.005, 2)", 1.01),
        ("round(dewpoint(ZN-T, ZN-RH), 1)", 10.6),
        ("humidex(30, 100) > 47", True),
        ("round(enthalpy(25, 50), 1)", 50.3),
        ("ZN-T +\n  1", 22.5),
        ("0 * -1", 0),
    ],
)
def test_results(text: str, result: float) -> None:
    """Expressions are computed as people read them, without the noise of binary arithmetic."""
    found = compute(text)
    assert found == result
    assert isinstance(found, bool) == isinstance(result, bool)
    assert not is_condition(text) or isinstance(found, bool)
    assert not isinstance(found, float) or math.copysign(1, found) == math.copysign(1, result)


@pytest.mark.parametrize(
    "text",
    [
        "1 / 0",
        "ZN-T % OFF",
        "sqrt(-1)",
        "log(0)",
        "exp(1000)",
        "1e308 * 10",
        "1 / (1e308 * 10)",
        "1e308 * 10 > 5",
        "not 1e308 * 10",
        "min(1e308 * 10 - 1e308 * 10, 3)",
        "1 if 1e308 * 10 else 2",
        "round(-(1e308 * 10))",
        "dewpoint(70, 50)",
        "dewpoint(20, 0)",
    ],
)
def test_what_cannot_be_computed(text: str) -> None:
    """Division by zero, arguments outside a domain and overflows have no result, wherever they occur."""
    assert compute(text) is None


@pytest.mark.parametrize("value", ["21.5", None, math.nan, math.inf, 10**400])
def test_values_that_are_no_numbers(value: Any) -> None:
    """Text, NaN and infinity cannot be computed with."""
    assert compile_expression("ZN-T > 20", VALUES).evaluate([value]) is None


def test_names_are_in_the_order_of_their_first_use() -> None:
    """`names` has each point once."""
    assert compile_expression("CHWR-T - CHWS-T + CHWR-T", VALUES).names == ("CHWR-T", "CHWS-T")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("ZN-TT + 1", 1, "ZN-TT: there is no point of this name, did you mean `ZN-T`?"),
        ("1 + ZN-T-2", 5, "ZN-T-2: there is no point of this name, did you mean `ZN-T`? (spaces separate"),
        ("FAN/2", 1, "(spaces separate: `A - B` subtracts, `A-B` is one name)"),
        ("MIN(1, 2)", 1, "MIN: there is no function of this name, did you mean `min`?"),
        ("median(1, 2)", 1, "there is no function of this name"),
        ("IF(FAN, 1, 0)", 1, "`IF` is not part of the language: write `x if test else y`"),
        ("if(FAN, 1, 0)", 1, "for a choice, write `x if test else y`"),
        ("if FAN then 1", 8, "`then` is not part of the language: write `x if test else y`"),
        ("FAN AND OFF", 5, "write `and`"),
        ("log10(ZN-T)", 1, "write `log(x) / log(10)`"),
        ("min(1; 2)", 6, "separate arguments with `,`"),
        ("1 + ZN-T ** 2", 10, "`**` is not part of the language: there are no powers"),
        ("ZN-T = 2", 6, "compare with `==`"),
        ("FAN && OFF", 5, "write `and`"),
        ("!FAN", 1, "write `not`"),
        ("  (ZN-T", 3, "'(' was never closed"),
        ("ZN-T)", 5, "unmatched ')'"),
        ("ZN-T +  ", 7, "the expression ends too early"),
        ("", 1, "the expression ends too early"),
        ("ZN-T  ZN-RH", 7, "unexpected; an operator or a comma may be missing"),
        ("ZN-T if FAN", 1, "expected 'else'"),
        ("21,5 + ZN-T", 1, "it has numbers with a decimal point"),
        ("1 + max", 5, "max is a function: write its arguments in parentheses"),
        ("max(1)", 1, "max has 2 or more arguments, not 1"),
        ("dewpoint(1)", 1, "dewpoint has 2 arguments, not 1"),
        ("sqrt()", 1, "sqrt has 1 argument, not 0"),
        ("round(1, 2, 3)", 1, "round has 1 or 2 arguments, not 3"),
        ("round(ZN-T, FAN)", 13, "the decimals of round are a number from 0 to 9"),
        ("min(1, *ZN-T)", 8, "not possible in an expression"),
        ("2(ZN-T)", 1, "multiply with `*`"),
        ("ZN-T.real", 1, "ZN-T.real: there is no point of this name"),
        ("(1).real", 4, "'.' is not possible in an expression"),
        ("ZN-T['x']", 5, "'[' is not possible in an expression"),
        ("__import__(1)", 1, "there is no function of this name"),
        ("p0", 1, "there is no point of this name"),
        ("9" * 400, 1, "too large"),
        ("1 +" * 101 + "1", 301, "too large; split it into several points"),
        ("(" * 21 + "1" + ")" * 21, 21, "too large"),
        ("1" + " " * 1000, 1, "longer than 1000 characters"),
    ],
)
def test_refusals(text: str, column: int, message: str) -> None:
    """What is not in the language is refused, with the column and what to do."""
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text, VALUES)
    assert message in str(refused.value)
    assert refused.value.column == column


@dataclass(frozen=True)
class Node:
    """A random expression: its text, and its value by an interpreter that checks each step."""

    text: str
    evaluate: Callable[[], float | bool]


OPERATORS: dict[str, Callable[..., float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
COMPARISONS: dict[str, Callable[..., bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
NAMES = ("A", "B-1", "C.2", "3D", "T/E", "ON", "NO")
VALUE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64), st.booleans()
)


def finite(value: float) -> float:
    """Return a number of a step."""
    if not math.isfinite(value):
        raise OverflowError
    return value


def call(name: str, arguments: Sequence[Node]) -> Node:
    """Return a call of a function of the language."""

    def evaluate() -> float:
        return FUNCTIONS[name].compute(*(argument.evaluate() for argument in arguments))

    return Node(f"{name}({', '.join(argument.text for argument in arguments)})", evaluate)


def chain(first: Node, others: Sequence[tuple[str, Node]]) -> Node:
    """Return chained comparisons."""

    def evaluate() -> bool:
        left = first.evaluate()
        for sign, node in others:
            right = node.evaluate()
            if not COMPARISONS[sign](left, right):
                return False
            left = right
        return True

    return Node(f"({first.text}{''.join(f'{sign}{node.text}' for sign, node in others)})", evaluate)


def combine(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Return larger expressions, made of smaller ones."""

    def binary(sign: str, left: Node, right: Node) -> Node:
        def evaluate() -> float:
            return finite(OPERATORS[sign](left.evaluate(), right.evaluate()))

        return Node(f"({left.text} {sign} {right.text})", evaluate)

    def conditional(then: Node, test: Node, other: Node) -> Node:
        def evaluate() -> float:
            return then.evaluate() if test.evaluate() else other.evaluate()

        return Node(f"({then.text} if {test.text} else {other.text})", evaluate)

    def rounded(node: Node, decimals: int) -> Node:
        def evaluate() -> float:
            return float(round_decimals(node.evaluate(), 10**decimals))

        return Node(f"round({node.text}, {decimals})", evaluate)

    pair = (nodes, nodes)
    signs = st.sampled_from(sorted(COMPARISONS))
    return st.one_of(
        st.builds(binary, st.sampled_from(sorted(OPERATORS)), *pair),
        st.builds(conditional, nodes, *pair),
        st.builds(rounded, nodes, st.integers(0, 9)),
        st.builds(chain, nodes, st.lists(st.tuples(signs, nodes), min_size=1, max_size=3)),
        st.builds(call, st.sampled_from(["min", "max"]), st.lists(nodes, min_size=2, max_size=4)),
        st.builds(call, st.sampled_from(["abs", "sqrt", "exp", "log"]), st.tuples(nodes)),
        st.builds(call, st.sampled_from(["dewpoint", "humidex", "enthalpy"]), st.tuples(*pair)),
        st.builds(lambda a: Node(f"(-{a.text})", lambda: -a.evaluate()), nodes),
        st.builds(lambda a: Node(f"(not {a.text})", lambda: not a.evaluate()), nodes),
        st.builds(
            lambda a, b: Node(f"({a.text} and {b.text})", lambda: bool(a.evaluate() and b.evaluate())), *pair
        ),
        st.builds(
            lambda a, b: Node(f"({a.text} or {b.text})", lambda: bool(a.evaluate() or b.evaluate())), *pair
        ),
    )


@given(st.data(), st.lists(VALUE, min_size=len(NAMES), max_size=len(NAMES)))
def test_results_are_those_of_a_naive_interpreter(data: st.DataObject, values: list[float | bool]) -> None:
    """Any expression gives what an interpreter gives that checks each step; where that fails, no result."""
    by_name = dict(zip(NAMES, values, strict=True))
    as_computed = {name: one if isinstance(one, bool) else float(one) for name, one in by_name.items()}
    leaves = st.one_of(
        st.sampled_from(NAMES).map(lambda name: Node(name, lambda: as_computed[name])),
        st.floats(0, allow_infinity=False).map(lambda number: Node(repr(number), lambda: number)),
    )
    node = data.draw(st.recursive(leaves, combine, max_leaves=12))
    try:
        expected: float | bool | None = node.evaluate()
        expected = expected if isinstance(expected, bool) else float(f"{expected:.14g}")
    except (ArithmeticError, ValueError):
        expected = None
    expression = compile_expression(node.text, NAMES)
    result = expression.evaluate([by_name[name] for name in expression.names])
    assert result == expected
    assert type(result) is type(expected)
    assert not is_condition(node.text) or isinstance(result, bool | None)


def compiled_or_refused(text: str, names: Collection[str]) -> Expression | None:
    """Return the expression, or None if it is refused at one of its columns."""
    try:
        return compile_expression(text, names)
    except ExpressionError as error:
        refused = error
    assert 1 <= refused.column <= len(text) + 1
    return None


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
@example("1 if 1 else " * 83 + "1")
@example("not " * 250)
@example("((" * 500)
@example("-" * 999 + "1")
@example("ZN-T " * 200)
@example("A-" * 500)
def test_any_text_is_compiled_or_refused_in_time(text: str) -> None:
    """Any text at all is an expression or refused in the declared way, within milliseconds."""
    started = time.process_time()
    expression = compiled_or_refused(text, VALUES)
    is_true_or_false = is_condition(text)
    if expression is not None:
        result = expression.evaluate([VALUES[name] for name in expression.names])
        assert not is_true_or_false or isinstance(result, bool | None)
    assert time.process_time() - started < 5  # milliseconds, unless garbage is collected meanwhile


TOKENS = (
    *NAMES,
    "and",
    "or",
    "not",
    "if",
    "else",
    *FUNCTIONS,
    *"+-*/%(),<>=!.",
    "<=",
    "==",
    "1",
    "2.5",
    "in",
    "is",
)


@given(st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join), st.lists(VALUE, min_size=7, max_size=7))
def test_any_words_of_the_language_are_safe(text: str, values: list[float | bool]) -> None:
    """Words of the language in any order are an expression or refused, and no evaluation raises."""
    expression = compiled_or_refused(text, NAMES)
    if expression is not None:
        result = expression.evaluate(values[: len(expression.names)])
        assert result is None or math.isfinite(result)


UNITS = {
    "ZN-T": "degC",
    "OA-T": "degF",
    "ZN-RH": "%",
    "KW": "kW",
    "W": "W",
    "K": "K",
    "N": None,
    "P": "persons",
    "°C": "°C",
}


@pytest.mark.parametrize(
    "text",
    [
        "dewpoint(ZN-T, ZN-RH)",
        "dewpoint(N, N)",
        "dewpoint(OA-T * 0.5555555556 - 17.77777778, ZN-RH)",
        "dewpoint(max(ZN-T, 5), round(ZN-RH))",
        "ZN-T + K - °C",
        "KW * 1000 + W",
        "ZN-T - 2 if P > 3 else N",
    ],
)
def test_units_that_go_together(text: str) -> None:
    """Equal units, points without a unit, and what an expression converts itself are accepted."""
    assert check_units(compile_expression(text, UNITS), UNITS) == []


@pytest.mark.parametrize(
    ("text", "message", "is_certain"),
    [
        (
            "dewpoint(OA-T, ZN-RH)",
            "use a point that is published in degC, or write `OA-T * 0.5555555556 - 17.77777778`",
            True,
        ),
        (
            "dewpoint(ZN-RH, ZN-RH)",
            "needs degC, but ZN-RH is in %: use a point that is published in degC",
            True,
        ),
        ("enthalpy(ZN-T, P)", "enthalpy needs percent, but P is in persons", True),
        ("humidex(dewpoint(ZN-T, 50), enthalpy(20, 50))", "enthalpy(20.0, 50.0) is in kJ/kg", True),
        ("1 + (ZN-T - OA-T)", "different units: ZN-T is in degC, OA-T in degF; publish both in", False),
        ("KW > W", "different units: KW is in kW, W in W", False),
        ("max(ZN-T, 20, OA-T)", "ZN-T is in degC, OA-T in degF", False),
        ("KW if N else W", "different units", False),
    ],
)
def test_units_that_do_not_go_together(text: str, message: str, *, is_certain: bool) -> None:
    """A point whose unit a function does not take is a mistake, a sum of different units may be one."""
    (found,) = check_units(compile_expression(text, UNITS), UNITS)
    assert message in found.message
    assert found.is_certain is is_certain


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        (
            "dewpoint(ZN-T, ZN-RH)",
            "degF",
            "in degC, not in degF: write `unit: degC`, or",
        ),
        ("max(KW, 1)", "W", "the result is in kW, not in W"),
        ("dewpoint(ZN-T, ZN-RH) * 1.8 + 32", "degF", None),
        ("KW * 24", "kWh", None),
        ("abs(ZN-T - K)", "K", None),
        ("ZN-T > 20", "percent", None),
    ],
)
def test_unit_of_the_result(text: str, unit: str, message: str | None) -> None:
    """A result is not published in another unit than it has; with `*` and `/` its unit is unknown."""
    found = check_units(compile_expression(text, UNITS), UNITS, result_unit=unit)
    assert [one.is_certain for one in found] == ([] if message is None else [True])
    assert message is None or message in found[0].message
