"""The language of `expr`: arithmetic with points, compiled once into one function that never raises.

The text becomes Python's syntax tree, in which only the nodes of the language are allowed, and then one code
object without builtins. All numbers are floats.
"""

from __future__ import annotations

import ast
import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from gateway.mapping import moist_air
from gateway.mapping.convert import round_decimals, without_noise
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

LONGEST_EXPRESSION = 1000
"""The most characters of an expression."""
_MOST_TOKENS = 200
_MOST_PARENTHESES = 20
_MOST_DECIMALS = 9

_KEYWORDS = frozenset({"and", "or", "not", "if", "else"})
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_END = r"(?![\w$]|[-./:@][\w$])"
_NUMBERS = re.compile(rf"({_NUMBER})(?:[-/]{_NUMBER})*{_END}")  # the first of those without a space between
_WORD = re.compile(r"[\w$](?:[\w$]|[-./:@](?=[\w$]))*")
_WORD_END = re.compile(_END)
_OPERAND = re.compile(rf"\.?{_WORD.pattern}")
_SPACED_NAME = re.compile(r"x(?: x)+")
_OPERATOR = re.compile(r"<=|>=|==|!=|[-+*/%(),<>]")
_FOREIGN = re.compile(r"\*\*|//|<>|&&?|\|\|?|=(?!=)|!(?!=)|\^|;")
_INSTEAD = {
    **dict.fromkeys(("**", "^"), "there are no powers; write x * x, or exp(y * log(x))"),
    **dict.fromkeys(("&&", "&"), "write `and`"),
    **dict.fromkeys(("||", "|"), "write `or`"),
    "//": "divide with `/`; round(x - 0.5) rounds down",
    "<>": "write `!=`",
    "=": "compare with `==`",
    "!": "write `not`",
    ";": "separate arguments with `,`",
}
_CHOICE = "write `x if test else y`"
_WORDS_INSTEAD = {  # of spreadsheets and controllers, whatever their capitals
    **dict.fromkeys(("if", "then", "else", "iif", "elseif"), _CHOICE),
    **dict.fromkeys(("pow", "power"), _INSTEAD["^"]),
    **{word: f"write `{word}`" for word in ("and", "or", "not")},
    **dict.fromkeys(("avg", "average", "mean"), "write `(x + y) / 2`, or make a point with `mean: {of: …}`"),
    "sum": "write `x + y`, or make a point with `sum: {of: …}`",
    "mod": "write `x % y`",
    "ln": "write `log(x)`",
    "log10": "write `log(x) / log(10)`",
    "true": "write `x` in place of `x == true`",
    "false": "write `not x` in place of `x == false`",
}
_SPACES = "spaces separate: `A - B` subtracts, `A-B` is one name"
_LANGUAGE = (
    "not possible in an expression; it has numbers with a decimal point, names of points, + - * / %, "
    "comparisons, and, or, not, a if c else b, and functions with their arguments"
)


class ExpressionError(ValueError):
    """What is wrong with the text of an expression, and the column in it, from 1.

    `unknown_point`: the name that no point has, if that is wrong.
    """

    def __init__(self, message: str, *, column: int, unknown_point: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.unknown_point = unknown_point


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the language. `most`: arguments, None for any number.

    `units`: what it requires of its arguments. `unit`: of its result; without `units`, its result has the
    unit of its arguments if `keeps_unit`.
    """

    compute: Callable[..., float]
    fewest: int = 1
    most: int | None = 1
    units: tuple[str, ...] = ()
    unit: str | None = None
    keeps_unit: bool = False


def _round(number: float, decimals: float = 0.0) -> float:
    return float(round_decimals(number, 10 ** int(decimals)))


_AIR = ("degC", "percent")
FUNCTIONS: Mapping[str, Function] = {
    "min": Function(min, fewest=2, most=None, keeps_unit=True),
    "max": Function(max, fewest=2, most=None, keeps_unit=True),
    "abs": Function(abs, keeps_unit=True),
    "round": Function(_round, most=2, keeps_unit=True),
    "sqrt": Function(math.sqrt),
    "exp": Function(math.exp),
    "log": Function(math.log),
    "dewpoint": Function(moist_air.dew_point, fewest=2, most=2, units=_AIR, unit="degC"),
    "humidex": Function(moist_air.humidex, fewest=2, most=2, units=_AIR),
    "enthalpy": Function(moist_air.enthalpy, fewest=2, most=2, units=_AIR, unit="kJ/kg"),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `names` are the points that it uses, in the order of their first use."""

    text: str
    names: tuple[str, ...]
    code: str = field(repr=False, compare=False)  # in Python's syntax, with p0, p1, … for the names
    _compute: Callable[..., float | bool] = field(repr=False, compare=False)

    def evaluate(self, values: Sequence[float | bool]) -> float | bool | None:
        """Return the result for the values of `names`, None if it cannot be computed. Never raises.

        Not computable are a division by zero, an argument outside a function's domain, an overflow, NaN,
        infinity and text.
        """
        try:
            result = self._compute(*map(_checked, values))
        except (ArithmeticError, ValueError):
            return None
        if result.__class__ is bool:
            return result
        return without_noise(result + 0.0) if result - result == 0 else None  # + 0.0: never -0.0


def compile_expression(text: str, known_names: Collection[str]) -> Expression:
    """Compile an expression; `known_names` are the points that it may use.

    Raises ExpressionError.
    """
    if len(text) > LONGEST_EXPRESSION:
        raise ExpressionError(f"longer than {LONGEST_EXPRESSION} characters", column=1)
    source = _Source()
    for token in _tokens(text, known_names):
        source.add(token)
    tree = source.parse(end=len(text.rstrip()) + 1)
    code = ast.unparse(tree)
    names = tuple(source.names)
    parameters = [ast.arg(_placeholder(index)) for index in range(len(names))]
    arguments = ast.arguments([], parameters, kwonlyargs=[], kw_defaults=[], defaults=[])
    function = ast.Expression(ast.Lambda(arguments, _Checks(source).visit(tree)))
    compiled = compile(ast.fix_missing_locations(function), "<expr>", "eval")
    compute = eval(compiled, {"__builtins__": {}, **_NAMESPACE})  # noqa: S307 - of the allowed nodes only
    return Expression(text, names, code, compute)


def is_condition(text: str) -> bool:
    """Return whether an expression is true or false: a comparison, `and`, `or`, `not`, or a choice of these.

    The points need not be known: words side by side are one name. What is no expression is no condition.
    """
    if len(text) > LONGEST_EXPRESSION:
        return False
    code = _OPERAND.sub(lambda found: found[0] if found[0] in _KEYWORDS else "x", " ".join(text.split()))
    try:
        return _is_condition(ast.parse(_SPACED_NAME.sub("x", code), mode="eval").body)
    except (SyntaxError, ValueError):
        return False


def _is_condition(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_condition(node.body) and _is_condition(node.orelse)
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return is_not or isinstance(node, ast.Compare | ast.BoolOp)


def _checked(value: float | bool) -> float | bool:  # noqa: FBT001 - a value of a point
    """Return a number as a float, and True and False as they are. Raises ValueError for anything else."""
    if value is True or value is False:
        return value
    if not isinstance(value, float | int):
        raise ValueError("not a number")  # noqa: TRY004 - outside the domain, as a negative root is
    return _finite(float(value))


def _finite(number: float) -> float:
    """Return a number; raises OverflowError if it is infinite or NaN, which compare and round wrongly."""
    if number - number != 0:
        raise OverflowError
    return number


_NAMESPACE = {"finite": _finite, **{name: function.compute for name, function in FUNCTIONS.items()}}


class _Token(NamedTuple):
    """A part of the text. `code`: in Python's syntax, "" for the name of a point. `column`: from 1."""

    text: str
    code: str
    column: int


def _tokens(text: str, known_names: Collection[str]) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if not text[at].isspace():
            token = _token(text, at, known_names)
            yield token
            at += len(token.text)
        else:
            at += 1


def _token(text: str, at: int, known_names: Collection[str]) -> _Token:
    """Return the token that starts at a position: the longest name of a point, or a part of the language."""
    if (name := _longest_name(text, at, known_names)) is not None:
        return _Token(name, "", at + 1)
    if (found := _NUMBERS.match(text, at)) is not None:
        if math.isinf(float(found[1])):
            raise ExpressionError("this number is too large", column=at + 1)
        return _Token(found[1], repr(float(found[1])), at + 1)
    if (found := _WORD.match(text, at)) is not None:
        return _word(text, found, known_names)
    if (found := _FOREIGN.match(text, at)) is not None:
        raise ExpressionError(
            f"`{found[0]}` is not part of the language: {_INSTEAD[found[0]]}", column=at + 1
        )
    if (found := _OPERATOR.match(text, at)) is not None:
        return _Token(found[0], found[0], at + 1)
    raise ExpressionError(f"{text[at]!r} is {_LANGUAGE}", column=at + 1)


def _longest_name(text: str, at: int, known_names: Collection[str]) -> str | None:
    ends = [found.start() for found in _WORD_END.finditer(text, at + 1)]
    candidates = (text[at:end] for end in reversed(ends))
    return next((name for name in candidates if name in known_names and not _is_reserved(name)), None)


def _is_reserved(word: str) -> bool:
    return word in _KEYWORDS or word in FUNCTIONS or _NUMBERS.fullmatch(word) is not None


def _word(text: str, found: re.Match[str], known_names: Collection[str]) -> _Token:
    word, column = found[0], found.start() + 1
    if word in _KEYWORDS or word in FUNCTIONS:
        return _Token(word, word, column)
    if (advice := _WORDS_INSTEAD.get(word.lower())) is not None:
        raise ExpressionError(f"`{word}` is not part of the language: {advice}", column=column)
    if text[found.end() :].lstrip().startswith("("):
        raise ExpressionError(f"{word}: {unknown_name('function', word.lower(), FUNCTIONS)}", column=column)
    spaces = "" if word.isalnum() else f" ({_SPACES})"
    message = f"{word}: {unknown_name('point', word, known_names)}{spaces}"
    raise ExpressionError(message, column=column, unknown_point=word)


def _placeholder(index: int) -> str:
    return f"p{index}"


class _Source:
    """The expression in Python's syntax, with placeholders for names, and the column of each part."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # placeholders
        self._parts: list[str] = []
        self._starts: list[int] = []
        self._columns: list[int] = []
        self._length = 0
        self._depth = 0

    def add(self, token: _Token) -> None:
        """Append a token. Raises ExpressionError if the expression becomes too large."""
        self._depth += {"(": 1, ")": -1}.get(token.code, 0)
        if self._depth > _MOST_PARENTHESES or len(self._parts) >= _MOST_TOKENS:
            raise ExpressionError("too large; split it into several points", column=token.column)
        code = token.code or self.names.setdefault(token.text, _placeholder(len(self.names)))
        self._parts.append(code)
        self._starts.append(self._length)
        self._columns.append(token.column)
        self._length += len(code) + 1

    def parse(self, *, end: int) -> ast.expr:
        """Return the syntax tree. `end`: the column behind the text."""
        try:
            return ast.parse(" ".join(self._parts), mode="eval").body
        except SyntaxError as error:
            if not error.offset:
                raise ExpressionError("the expression ends too early", column=end) from None
            is_unclear = error.msg.startswith("invalid syntax")
            hint = f"; for a choice, {_CHOICE}" if "if" in self._parts else ""
            message = f"unexpected; an operator or a comma may be missing{hint}" if is_unclear else error.msg
            raise ExpressionError(message, column=self.column(error.offset - 1)) from None

    def column(self, offset: int) -> int:
        """Return the column of the token at an offset of the Python source."""
        return self._columns[bisect_right(self._starts, offset) - 1]


class _Checks(ast.NodeTransformer):
    """Refuses what is not in the language, and adds the checks for overflow.

    Infinity and NaN pass through + - * and / to the result, which is checked. They are checked before they
    get lost: in a divisor, a comparison, a condition and an argument.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source

    def generic_visit(self, node: ast.AST) -> ast.AST:
        raise self._error(cast("ast.expr", node), f"this is {_LANGUAGE}")

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in FUNCTIONS:
            raise self._error(node, f"{node.id} is a function: write its arguments in parentheses")
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        is_divided = isinstance(node.op, ast.Div | ast.Mod)
        right = self._visit_finite(node.right) if is_divided else self.visit(node.right)
        return ast.BinOp(self.visit(node.left), node.op, right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.UnaryOp:
        visit = self._visit_finite if isinstance(node.op, ast.Not) else self.visit
        return ast.UnaryOp(node.op, visit(node.operand))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.UnaryOp:
        """Return `not not (a and b)`, which is true or false."""
        both = ast.BoolOp(node.op, [self._visit_finite(value) for value in node.values])
        return ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), both))

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        compared = [self._visit_finite(value) for value in node.comparators]
        return ast.Compare(self._visit_finite(node.left), node.ops, compared)

    def visit_IfExp(self, node: ast.IfExp) -> ast.IfExp:
        return ast.IfExp(self._visit_finite(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_Call(self, node: ast.Call) -> ast.Call:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise self._error(node, "only functions have arguments in parentheses; multiply with `*`")
        function, count = FUNCTIONS[name], len(node.args)
        if count < function.fewest or (function.most is not None and count > function.most):
            raise self._error(node, f"{name} has {_arity(function)}, not {count}")
        if name == "round" and count > 1 and not _is_decimals(node.args[1]):
            raise self._error(node.args[1], f"the decimals of round are a number from 0 to {_MOST_DECIMALS}")
        return ast.Call(node.func, [self._visit_finite(argument) for argument in node.args], [])

    def _visit_finite(self, node: ast.expr) -> ast.expr:
        visited = cast("ast.expr", self.visit(node))
        is_safe = isinstance(node, ast.Constant | ast.Name | ast.Call | ast.Compare | ast.BoolOp)
        return visited if is_safe else ast.Call(ast.Name("finite", ast.Load()), [visited], [])

    def _error(self, node: ast.expr, message: str) -> ExpressionError:
        return ExpressionError(message, column=self._source.column(node.col_offset))


def _arity(function: Function) -> str:
    if function.most == function.fewest:
        return f"{function.fewest} argument{'s' if function.fewest > 1 else ''}"
    return f"{function.fewest} or more arguments" if function.most is None else "1 or 2 arguments"


def _is_decimals(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in range(_MOST_DECIMALS + 1)
