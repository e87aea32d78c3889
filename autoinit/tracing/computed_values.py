"""What computed values are: as text (`randn() * 0.02`), and as an initializer (`Normal(std=0.02)`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from .. import _torch
from ..construction import Content
from ..initializers import Constant, Initializer, Normal, Uniform
from .call_frames import FunctionCall, call_text, number_text
from .history import History
from .known_functions import CONSTANTS, DRAWS, FILLED, OF_CONSTANTS, of_constant, of_function, of_operator, scaled

DEEPEST = 6
"""Operators within each other that are followed."""
LONGEST = 100
"""Characters of an expression that are shown."""
SIGNS = {"mul": "*", "div": "/", "add": "+", "sub": "-"}
SAME = frozenset(["clone", "_to_copy", "copy_", "lift", "alias_copy", "detach_copy", "view_copy", "contiguous"])
"""Operators whose result has the values of their source."""
JOINED = ("cat", "stack", "repeat")
"""Operators whose result has the elements of their sources, `repeat` several times."""
ELEMENTWISE = (Normal, Uniform, Constant)
"""Initializers of which a part is like the whole."""


class ComputedValues:
    """Describes contents of memory by what they were computed from.

    Args:
        history: Knows the functions and numbers that contents came from.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def _functions(self, content: Content) -> list[FunctionCall]:
        """The functions that a write was in, the outermost first; a function that copies says less than its source."""
        return [each for each in reversed(self._history.functions.get(content, ())) if each.name != "copy_"]

    def text(self, content: Content) -> str:
        """Values as an expression."""
        text = self._text(content, 0)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

    def _text(self, content: Content, depth: int) -> str:
        functions, numbers = self._functions(content), self._history.numbers.get(content)
        if functions:
            return str(functions[0])
        if content.is_data:
            return content.describe()
        if numbers is not None:
            shown = ", ".join(map(number_text, numbers))
            return f"tensor([{shown}])" if len(numbers) != 1 else shown if depth else f"tensor({shown})"
        if depth > DEEPEST:
            return "..."
        source = content.copied_from or (content.whole if content.whole is not content else None)
        return self._operator_text(content, depth + 1) if source is None else self._text(source, depth + 1)

    def _operator_text(self, content: Content, depth: int) -> str:
        name, sources = operator_name(content), [self._text(each, depth) for each in content.sources]
        if name == "numbers":
            return "tensor([...])"
        if name in FILLED and sources:
            return f"{name}({', '.join(sources)})"
        if name in DRAWS or name in CONSTANTS or name in FILLED:
            return call_text(name, named_numbers(content))
        base, terms = name.rstrip("_"), [*sources, *map(number_text, content.numbers)]
        if base in SIGNS and len(terms) == 2 and sources:
            first, second = (_in_brackets(each, base) for each in terms)
            is_negative = base == "add" and second.startswith("-")
            return f"{first} - {second[1:]}" if is_negative else f"{first} {SIGNS[base]} {second}"
        if base == "rsub" and len(sources) == 1 and len(terms) > 1:
            return f"{terms[1]} - {_in_brackets(terms[0], base)}"
        if base == "neg" and sources:
            return f"-{_in_brackets(sources[0], 'mul')}"
        return f"{name}({', '.join(terms)})"

    def call(self, content: Content, own: Sequence[Content]) -> tuple[str, Mapping[str, object], str]:
        """Function, arguments and text of the call that wrote values.

        Args:
            content: The values.
            own: What the call wrote in all.
        """
        functions = self._functions(content)
        if functions:
            return functions[0].name, functions[0].passed, str(functions[0])
        if content.copied_from is not None:
            numbers = self._history.numbers.get(content.original, ())
            if len(numbers) == 1:  # Torch made a tensor of a number of Python, and copied that.
                return "fill_", {"value": numbers[0]}, f"fill_({number_text(numbers[0])})"
            return "copy", {}, f"copy of {self.text(content)}"
        name = operator_name(content)
        if not content.sources or not name.endswith("_") or name in FILLED:
            draws = [each for each in content.ancestors() if operator_name(each) in DRAWS]
            drawn = draws[0] if len(draws) == 1 else content
            return operator_name(drawn), named_numbers(drawn), self.text(content)
        # What it changed in place is a call of its own.
        arguments = named_numbers(content)
        others = [self.text(each) for each in content.sources[1:] if all(each is not mine for mine in own)]
        named = [f"{key}={number_text(value)}" for key, value in arguments.items()]
        shown = named if len(named) > 1 else map(number_text, content.numbers)
        return name, arguments, f"{name}({', '.join([*others, *shown])})"

    def initializer(self, content: Content, depth: int = 0) -> Initializer | None:
        """The initializer that gives a whole tensor such values; None if autoinit has none."""
        if content.is_data or depth > DEEPEST * 2:
            return None
        for function in self._functions(content):
            known = of_function(function.name, function.arguments) if function.is_known else None
            if known is not None:
                return known
        made = self._history.numbers.get(content)
        if made is not None:
            return Constant(val=made[0]) if len(set(made)) == 1 else None
        name = operator_name(content)
        sources = content.sources if content.copied_from is None else (content.copied_from,)
        found = [self.initializer(each, depth + 1) for each in sources]
        if content.copied_from is not None or name.rstrip("_") in SAME:
            return found[0] if len(found) == 1 else None
        if name == "part":
            return found[0] if isinstance(found[0], ELEMENTWISE) else None
        if name in FILLED and found and not content.numbers:
            return found[-1]
        numbers = [each for each in content.numbers if isinstance(each, (int, float))]
        return of_operator(name, content.numbers) or _of_arithmetic(name.rstrip("_"), numbers, found)


def _of_arithmetic(name: str, numbers: Sequence[float], terms: Sequence[Initializer | None]) -> Initializer | None:
    """The initializer of the result of an operator on initialized tensors and numbers."""
    if not terms or None in terms:
        return None
    first, *others = terms
    if name in JOINED and all(each == first for each in others):
        return first if isinstance(first, Constant if name == "repeat" else ELEMENTWISE) else None
    if isinstance(first, Constant) and not others and name in OF_CONSTANTS:
        return of_constant(name, first.val)
    if name == "constant_pad_nd":
        return first if isinstance(first, Constant) and [first.val] == numbers else None
    # Of several tensors, all but one have to be constants.
    if name in ("mul", "add"):
        first, *others = sorted(terms, key=lambda each: isinstance(each, Constant))
    values = [each.val for each in others if isinstance(each, Constant)]
    return _affine(name, first, [*values, *numbers]) if len(values) == len(others) else None


def _affine(name: str, first: Initializer | None, terms: Sequence[float]) -> Initializer | None:
    """The initializer of a product, quotient, sum or difference; `terms` are the numbers behind the first operand."""
    if name == "neg":
        return scaled(first, -1)
    if not terms:
        return None
    product = math.prod(terms)  # Behind the term of a sum there may be `alpha`, which it is multiplied with.
    if name == "mul" or (name == "div" and product):
        return scaled(first, product if name == "mul" else 1 / product)
    if name in ("add", "sub", "rsub"):
        return scaled(first, -1 if name == "rsub" else 1, -product if name == "sub" else product)
    return None


def operator_name(content: Content) -> str:
    """The name of an operator without namespace and overload: `normal_` of `aten.normal_.default`."""
    parts = content.operator.split(".")
    return parts[-1] if parts[0] == "torch" or len(parts) == 1 else parts[1]


def named_numbers(content: Content) -> dict[str, object]:
    """The numbers of an operator by the names in its schema; with one of them, defaults of the others, too."""
    names = _number_names(content.operator)
    given = dict(zip(names, content.numbers, strict=False))
    return {**names, **given} if given else {}


@lru_cache(maxsize=512)
def _number_names(operator: str) -> dict[str, object]:
    parts = operator.split(".")
    found: object = torch.ops if len(parts) == 3 else None
    for part in parts:
        found = getattr(found, part, None)
    if not isinstance(found, _torch.OpOverload):
        return {}
    arguments = _torch.schema_of(found).arguments
    return {each.name: each.default_value for each in arguments if str(each.type) in ("float", "int", "number")}


def _in_brackets(text: str, base: str) -> str:
    return f"({text})" if base != "add" and (" + " in text or " - " in text) else text
