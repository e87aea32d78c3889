"""Arithmetic in the numbers of an initializer: `1/sqrt(2 * depth)`, parsed once and evaluated without `eval`."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ..errors import ConfigError, ShapeError, nearest

NAMES = {
    "layer": "position, from 1, in the outermost list of like modules around the parameter",
    "depth": "length of that list",
    "fan_in": "fan-in of the map that is filled; for a bias, of the weight beside it",
    "fan_out": "fan-out of the same map",
    "dim": "size of the last axis",
}
"""The names that an expression may read, and what they stand for."""

CONSTANTS = {"pi": math.pi}
FUNCTIONS: Mapping[str, tuple[Callable[..., float], int]] = {
    "sqrt": (math.sqrt, 1),
    "log": (math.log, 1),
    "exp": (math.exp, 1),
    "min": (min, 2),
    "max": (max, 2),
}
"""By name the function and how many arguments it needs; `min` and `max` take more."""

OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
ALLOWED = f"numbers, + - * / **, parentheses, {', '.join((*FUNCTIONS, *CONSTANTS, *NAMES))}"
LONGEST = 500
"""Characters of an expression."""

Compiled = Callable[[Mapping[str, float]], float]
"""From the numbers of the names to the value of an expression."""


@dataclass(frozen=True)
class Expression:
    """A number that depends on the parameter: arithmetic over the names in `NAMES`.

    Args:
        text: As it was written.

    Raises:
        ConfigError: A syntax error, an unknown name, or something other than arithmetic.

    Example:
        >>> scale = Expression("1 / sqrt(2 * depth)")
        >>> scale.value({"depth": 8}), sorted(scale.names), str(scale)
        (0.25, ['depth'], '1 / sqrt(2 * depth)')
    """

    text: str
    names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(self.text.split()))
        names = {node.id for node in ast.walk(_parsed(self.text)[0]) if isinstance(node, ast.Name)}
        object.__setattr__(self, "names", frozenset(names & NAMES.keys()))

    def value(self, numbers: Mapping[str, float]) -> float:
        """The number, given those of its names.

        Raises:
            ShapeError: It divides by zero, is not a real number, or is beyond any float.
        """
        read = {name: float(numbers[name]) for name in sorted(self.names)}
        with_them = f" with {', '.join(f'{name}={value:g}' for name, value in read.items())}" if read else ""
        try:
            found = _parsed(self.text)[1]({**CONSTANTS, **read})
        except ZeroDivisionError as error:
            raise ShapeError(f"{self.text} divides by zero{with_them}.") from error
        except OverflowError as error:
            raise ShapeError(f"{self.text} is beyond any float{with_them}.") from error
        except (ValueError, TypeError) as error:  # sqrt(-1); a complex power has no order and no math functions.
            raise ShapeError(f"{self.text} is not a real number{with_them}.") from error
        if isinstance(found, complex) or math.isnan(found):
            raise ShapeError(f"{self.text} is not a real number{with_them}.")
        return found

    @property
    def is_literal(self) -> bool:
        """Whether it is just a number, with or without a sign."""
        parts = ast.walk(_parsed(self.text)[0])
        return all(isinstance(node, (ast.Constant, ast.UnaryOp, ast.unaryop)) for node in parts)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[ast.expr, Compiled]:
    """The syntax tree of an expression, and the function that computes it."""
    if len(text) > LONGEST:
        raise ConfigError(f"an expression of {len(text)} characters is too long; {LONGEST} are allowed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # A null byte; parentheses nested too deep.
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(f"{text!r} is not an expression: {reason}. An expression has {ALLOWED}.") from error
    return tree, _function_of(tree, text)


def _function_of(node: ast.expr, text: str) -> Compiled:
    """The function that computes a part of an expression; an error if the part is not arithmetic over known names."""
    operands: Sequence[ast.expr] = ()
    if isinstance(node, ast.Name):
        if node.id not in (known := [*NAMES, *CONSTANTS]):
            hint = nearest(node.id, known)
            raise ConfigError(f"{text!r}: unknown name {node.id!r}.{hint} Known: {', '.join(known)}.")
        return operator.itemgetter(node.id)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _constant(node.value, text)  # type: ignore[arg-type]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function, operands = _called(node, node.func.id, text), node.args
    elif isinstance(node, (ast.BinOp, ast.UnaryOp)) and type(node.op) in OPERATORS:
        function = OPERATORS[type(node.op)]
        operands = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
    else:
        power = " A power is written **." if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor) else ""
        part = ast.unparse(node)
        raise ConfigError(f"{text!r}: {part!r} is not arithmetic.{power} An expression has {ALLOWED}.")
    parts = [_function_of(each, text) for each in operands]
    return lambda numbers: function(*[part(numbers) for part in parts])


def _constant(value: float, text: str) -> Compiled:
    try:
        number = float(value)  # All numbers are floats, so that no power takes long.
    except OverflowError as error:
        raise ConfigError(f"{text!r}: a number in it is beyond any float.") from error
    return lambda numbers: number


def _called(node: ast.Call, name: str, text: str) -> Callable[..., float]:
    if name not in FUNCTIONS:
        raise ConfigError(
            f"{text!r}: unknown function {name!r}.{nearest(name, FUNCTIONS)} Known: {', '.join(FUNCTIONS)}."
        )
    function, count = FUNCTIONS[name]
    if len(node.args) < count or (count == 1 and len(node.args) > 1):
        needed = "one argument" if count == 1 else f"at least {count} arguments"
        raise ConfigError(f"{text!r}: {name} needs {needed}, not {len(node.args)}.")
    return function
