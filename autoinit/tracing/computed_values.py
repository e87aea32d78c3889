"""What computed values are: as text (`randn() * 0.02`), and as an initializer (`Normal(std=0.02)`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import torch

from .. import _torch
from ..construction import Content
from ..initializers import Constant, Initializer
from .call_frames import FunctionCall
from .history import History
from .known_functions import CONSTANTS, DRAWS, FILLED, of_function, of_operator, scaled

DEEPEST = 6
"""Operators within each other that are followed."""
LONGEST = 100
"""Characters of an expression that are shown."""
SIGNS = {"mul": "*", "div": "/", "add": "+", "sub": "-"}
OF_CONSTANTS: Mapping[str, Callable[[float], float]] = {
    "neg": lambda x: -x,
    "log": math.log,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "abs": abs,
    "tanh": math.tanh,
    "expm1": math.expm1,
    "log1p": math.log1p,
}
SAME = frozenset(["clone", "_to_copy", "copy_", "lift", "alias_copy", "detach_copy", "view_copy", "contiguous"])
"""Operators whose result has the values of their source."""

JOINED = ("cat", "stack", "repeat")
"""Operators whose result has the elements of their sources, `repeat` several times."""


class ComputedValues:
    """Describes contents of memory by what they were computed from.

    Args:
        history: Knows the functions and numbers that contents came from.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def function(self, content: Content) -> FunctionCall | None:
        """The outermost function that a write was in, such as `orthogonal_`; None for an operator by itself."""
        return next(iter(self._functions(content)), None)

    def _functions(self, content: Content) -> list[FunctionCall]:
        """The functions that a write was in, the outermost first; a function that copies says less than its source."""
        found = self._history.functions.get(id(content))
        return [] if found is None else [each for each in reversed(found[1].functions) if each.name != "copy_"]

    def text(self, content: Content) -> str:
        """Values as an expression."""
        text = self._text(content, 0)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

    def _text(self, content: Content, depth: int) -> str:
        function = self.function(content)
        if function is not None:
            return call_text(function.name, function.passed)
        if content.is_data:
            return content.describe()
        numbers = self._history.numbers.get(id(content))
        if numbers is not None:
            shown = ", ".join(map(number_text, numbers[1]))
            return f"tensor([{shown}])" if len(numbers[1]) != 1 else shown if depth else f"tensor({shown})"
        if depth > DEEPEST:
            return "..."
        source = content.copied_from or (content.whole if content.whole is not content else None)
        if source is not None:
            return self._text(source, depth + 1)
        return self._operator_text(content, depth)

    def _operator_text(self, content: Content, depth: int) -> str:
        name = operator_name(content)
        if name == "numbers":
            return "tensor([...])"
        if name in DRAWS or name in CONSTANTS or name in FILLED:
            given = [self._text(each, depth + 1) for each in content.sources] if name in FILLED else []
            return call_text(name, named_numbers(content)) if not given else f"{name}({', '.join(given)})"
        sources = [self._text(each, depth + 1) for each in content.sources]
        numbers = list(map(number_text, content.numbers))
        base = name.rstrip("_")
        if base in SIGNS and len(sources) + len(numbers) == 2 and sources:
            first, second = (_in_brackets(each, base) for each in (*sources, *numbers))
            if base == "add" and second.startswith("-"):
                return f"{first} - {second[1:]}"
            return f"{first} {SIGNS[base]} {second}"
        if base == "rsub" and len(sources) == 1 and numbers:
            return f"{numbers[0]} - {_in_brackets(sources[0], base)}"
        if base == "neg" and sources:
            return f"-{_in_brackets(sources[0], 'mul')}"
        return f"{name}({', '.join([*sources, *numbers])})"

    def call(self, content: Content, own: Sequence[Content]) -> tuple[str, Mapping[str, object], str]:
        """Function, arguments and text of the call that wrote values.

        Args:
            content: The values.
            own: What the call wrote in all.
        """
        function = self.function(content)
        if function is not None:
            return function.name, function.passed, call_text(function.name, function.passed)
        if content.copied_from is not None:
            number = self.number(content.original)
            if number is not None:
                return "fill_", {"value": number}, f"fill_({number_text(number)})"
            return "copy", {}, f"copy of {self.text(content)}"
        if not content.sources or not is_in_place(content):
            drawn = self.drawn(content)
            return operator_name(drawn), named_numbers(drawn), self.text(content)
        # What it changed in place is a call of its own.
        name, numbers = operator_name(content), named_numbers(content)
        others = [self.text(each) for each in content.sources[1:] if all(each is not mine for mine in own)]
        named = [f"{key}={number_text(value)}" for key, value in numbers.items()]
        shown = named if len(named) > 1 else [number_text(value) for value in content.numbers]
        return name, numbers, f"{name}({', '.join([*others, *shown])})"

    def number(self, content: Content) -> float | None:
        """The number of Python that torch made values from, if it was one."""
        found = self._history.numbers.get(id(content))
        return found[1][0] if found is not None and len(found[1]) == 1 else None

    def drawn(self, content: Content) -> Content:
        """The only draw that values were computed from; without one, or with several, the values themselves."""
        found = [each for each in content.ancestors() if operator_name(each) in DRAWS]
        return found[0] if len(found) == 1 else content

    def initializer(self, content: Content, depth: int = 0) -> Initializer | None:
        """The initializer that gives a whole tensor such values; None if autoinit has none."""
        if content.is_data or depth > DEEPEST * 2:
            return None
        for function in self._functions(content):
            known = of_function(function.name, function.arguments) if function.is_known else None
            if known is not None:
                return known
        numbers = self._history.numbers.get(id(content))
        if numbers is not None:
            return Constant(val=numbers[1][0]) if len(set(numbers[1])) == 1 else None
        name = operator_name(content)
        if content.copied_from is not None or name.rstrip("_") in SAME:
            source = content.copied_from or (content.sources[0] if len(content.sources) == 1 else None)
            return None if source is None else self.initializer(source, depth + 1)
        found = [self.initializer(each, depth + 1) for each in content.sources]
        if name == "part":
            return found[0] if isinstance(found[0], ELEMENTWISE) else None
        if name in FILLED and found and not content.numbers:
            return found[-1]
        made = of_operator(name, content.numbers)
        return made if made is not None else self._arithmetic(name.rstrip("_"), content, found)

    def _arithmetic(self, base: str, content: Content, found: list[Initializer | None]) -> Initializer | None:
        """The initializer of the result of arithmetic on numbers and constants."""
        numbers: list[float] = [each for each in content.numbers if isinstance(each, (int, float))]
        if not found or None in found:
            return None
        first, *others = found
        if base in JOINED and all(each == first for each in others):
            return (
                first if isinstance(first, ELEMENTWISE) and (base != "repeat" or isinstance(first, Constant)) else None
            )
        if isinstance(first, Constant) and not others and base in OF_CONSTANTS:
            return _constant(OF_CONSTANTS[base], first.val)
        if base == "constant_pad_nd":
            return first if isinstance(first, Constant) and [first.val] == numbers else None
        # Of several tensors, all but one have to be constants.
        if others and isinstance(first, Constant) and base in ("mul", "add"):
            first, others = others[0], [first, *others[1:]]
        if not all(isinstance(each, Constant) for each in others):
            return None
        values = [each.val for each in others if isinstance(each, Constant)]
        return _affine(base, first, values, numbers)


ELEMENTWISE = tuple(type(each) for each in (of_operator("randn", ()), of_operator("rand", ()), Constant(val=0)))


def _affine(base: str, first: Initializer | None, values: list[float], numbers: list[float]) -> Initializer | None:
    if base in ("mul", "div"):
        terms = [*values, *numbers]
        factor = reduce(lambda x, y: x * y, terms, 1.0)
        if not terms or (base == "div" and not factor):
            return None
        return scaled(first, factor if base == "mul" else 1 / factor)
    if base in ("add", "sub", "rsub") and len(values) <= 1 and (values or numbers):
        # Behind a tensor or number there may be `alpha`, which it is multiplied with.
        term, *alpha = [*values, *numbers]
        shift = term * math.prod(alpha)
        return scaled(first, -1 if base == "rsub" else 1, -shift if base == "sub" else shift)
    if base == "neg":
        return scaled(first, -1)
    return None


def _constant(function: Callable[[float], float], value: float) -> Initializer | None:
    try:
        return Constant(val=function(value))
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def is_in_place(content: Content) -> bool:
    """Whether an operator changed values that were there: `mul_`, not `fill_`."""
    name = operator_name(content)
    return name.endswith("_") and name not in FILLED


def operator_name(content: Content) -> str:
    """The name of an operator without namespace and overload: `normal_` of `aten.normal_.default`."""
    parts = content.operator.split(".")
    return parts[-1] if parts[0] == "torch" or len(parts) == 1 else parts[1]


def call_text(name: str, arguments: Mapping[str, object]) -> str:
    """A call with arguments.

    Example:
        >>> call_text("kaiming_uniform_", {"a": 5**0.5, "mode": "fan_out"})
        "kaiming_uniform_(a=2.236, mode='fan_out')"
    """
    return f"{name}({', '.join(f'{key}={_value_text(value)}' for key, value in arguments.items())})"


def _value_text(value: object) -> str:
    return number_text(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def number_text(value: object) -> str:
    """A number with four digits."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def named_numbers(content: Content) -> dict[str, object]:
    """The numbers of an operator by the names in its schema; with one of them, defaults of the others, too."""
    names = _number_names(content.operator)
    given = dict(zip(names, content.numbers, strict=False))
    return {**names, **given} if given else {}


@lru_cache(maxsize=512)
def _number_names(operator: str) -> dict[str, Any]:
    parts = operator.split(".")
    if len(parts) != 3:
        return {}
    function = getattr(getattr(getattr(torch.ops, parts[0], None), parts[1], None), parts[2], None)
    if function is None:
        return {}
    arguments = _torch.schema_of(function).arguments
    return {each.name: each.default_value for each in arguments if str(each.type) in ("float", "int", "number")}


def _in_brackets(text: str, base: str) -> str:
    return f"({text})" if base != "add" and (" + " in text or " - " in text) else text
