"""What the contracts say of each parameter of a program under its rules, from the interpreter alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from tests.unit.construction.memory import DATA, INIT, NEVER, Numbers, Slot, World
from tests.unit.construction.programs import Rules


@dataclass(frozen=True)
class Expected:
    """An outcome that the contracts allow for a parameter, or its beginning and `*`, and whose values it has."""

    outcome: str
    rule: tuple[str, str, float] | None = None
    like: str | None = None

    def says(self, outcome: str) -> bool:
        return outcome.startswith(self.outcome[:-1]) if self.outcome.endswith("*") else outcome == self.outcome


def winner(names: Sequence[str], rules: Rules) -> tuple[str, str, float] | None:
    """The last rule that matches one of the names of a parameter."""
    won = None
    for rule in rules:
        if any(rule[0] in (name, name.rpartition(".")[0]) or (rule[0][0] == name[0] == "s") for name in names):
            won = rule
    return won


class Oracle:
    """Results that the contracts allow for a world under rules; `order` has all names of parameters, in model order.

    `exact` if the block draws as plain construction does (contract D4): what no rule fills is equal to it, seen or not.
    """

    def __init__(self, world: World, rules: Rules, order: Sequence[str], *, exact: bool) -> None:
        self.world, self.rules, self.exact = world, rules, exact
        self.names: dict[Slot, list[str]] = {}
        for name in order:
            self.names.setdefault(world.slots[name], []).append(name)

    def expected(self) -> dict[str, list[Expected]]:
        """The results for each parameter, by its first name."""
        return {names[0]: self._results(slot) for slot, names in self.names.items()}

    def known(self, numbers: Numbers) -> Tensor:
        """Which values are equal to those of plain construction, if no rule fills them."""
        values = self.world.values
        return torch.from_numpy(np.asarray(values.fixed[numbers] | values.seen[numbers])) | self.exact

    def rule(self, slot: Slot) -> tuple[str, str, float] | None:
        return winner(self.names[slot], self.rules)

    def origins(self, slot: Slot) -> set[int]:
        return set(np.unique(self.world.values.origin[slot.numbers]).tolist())

    def settled(self, slot: Slot) -> bool:
        """Whether the contracts say exactly what becomes of a parameter's values."""
        is_here = not slot.memory.outside and not self.is_outside(slot)
        return self.origins(slot) == {INIT} and is_here and not self.shares(slot)

    def is_outside(self, slot: Slot) -> bool:
        """Whether a parameter is in a layer that was built outside the block, perhaps in others as well."""
        return any(name.split(".")[0] in self.world.outside for name in self.names[slot])

    def shares(self, slot: Slot) -> bool:
        return sum(other.memory is slot.memory for other in self.names) > 1

    def is_in_series(self, slot: Slot) -> bool:
        """Whether a parameter is one of several trainable copies side by side in one container."""
        names = self.names[slot]
        if names[0][0] != "s" or not slot.trainable:
            return False
        box, leaf = names[0].split(".")[0], names[0].rpartition(".")[2]
        beside = [
            other
            for other, (name, *_) in self.names.items()
            if name.startswith(f"{box}.") and name.endswith(f".{leaf}")
        ]
        return len(beside) > 1

    def equals(self, slot: Slot) -> list[Slot]:
        """The parameters that hold the same values and are no layers of their own, in model order."""
        same = [other for other in self.names if np.array_equal(other.numbers, slot.numbers)]
        return [other for other in same if not self.is_in_series(other)]

    def _results(self, slot: Slot) -> list[Expected]:
        rule, origins = self.rule(slot), self.origins(slot)
        if self.is_outside(slot) and DATA not in origins:
            return self._left_open(slot, self.equals(slot))
        if DATA in origins or slot.memory.outside:
            return [Expected("kept: *" if rule else "kept*")]
        if self.is_in_series(slot) and origins == {INIT}:
            return [Expected("filled", rule)] if rule else [Expected("kept"), Expected("copy of *")]
        equals = self.equals(slot)
        if origins == {INIT} and all(self.settled(other) for other in equals):
            return self._copies(slot, equals)
        if origins <= {INIT, NEVER} and equals == [slot] and not self.shares(slot):
            return self._alone(slot)
        return self._left_open(slot, equals)

    def _copies(self, slot: Slot, equals: list[Slot]) -> list[Expected]:
        """The first of those that are equal is filled by its rule, the others follow."""
        first, name = equals[0], self.names[equals[0]][0]
        rule = self.rule(first)
        if rule is not None:
            return [Expected("filled", rule) if slot is first else Expected(f"copy of {name}", rule, name)]
        if any(self.rule(other) for other in equals):
            return self._left_open(slot, equals)
        return (
            [Expected("kept")]
            if slot is first
            else [Expected("kept", like=name), Expected(f"copy of {name}", like=name)]
        )

    def _alone(self, slot: Slot) -> list[Expected]:
        """A parameter of which nothing is a copy, with memory that was never written."""
        if rule := self.rule(slot):
            return [Expected("filled", rule)]
        whole = self.origins(slot) == {NEVER}
        return [Expected("never written")] if whole else [Expected("never written"), Expected("kept")]

    def _left_open(self, slot: Slot, equals: list[Slot]) -> list[Expected]:
        """What the contracts do not say: which of several parameters decides, whether a raw write was seen."""
        sharing = [other for other in self.names if other.memory is slot.memory]
        rules = {self.rule(other) for other in (*equals, *sharing, slot)} - {None}
        results = [Expected(outcome, rule) for rule in rules for outcome in ("filled", "copy of *")]
        if NEVER in self.origins(slot):
            results.append(Expected("never written"))
        return [*results, Expected("kept*"), Expected("copy of *")]


def follows(value: Tensor, rule: tuple[str, str, float]) -> bool:
    """Whether values are what a rule gives: exactly, or within five standard errors."""
    name, scheme, number = rule
    if scheme == "Constant" or (value.dim() == 1 and name not in ("p", "q")):
        return bool((value == number).all())
    count = value.numel()
    return bool(abs(value.mean()) < 5 * number / sqrt(count) and abs(value.std() / number - 1) < 5 / sqrt(2 * count))


def same(one: Tensor, other: Tensor) -> Tensor:
    """Elementwise equality, NaN included."""
    return (one == other) | (one.isnan() & other.isnan())


def problems(
    oracle: Oracle, outcomes: Mapping[str, str], plain: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> list[str]:
    """Everything in a report and in the values that the contracts do not allow."""
    found = []
    for name, results in oracle.expected().items():
        slot = next(slot for slot, names in oracle.names.items() if names[0] == name)
        known = oracle.known(slot.numbers)
        allowed = [result for result in results if result.says(outcomes[name])]
        if not allowed:
            found.append(f"{name}: {outcomes[name]!r}, not {[result.outcome for result in results]}")
        elif not any(agrees(result, name, known, plain, values) for result in allowed):
            found.append(f"{name}: {outcomes[name]!r} has other values")
    return found + lost(plain, values) + repeated(oracle, values) + wrong_buffers(oracle, plain, values)


def agrees(
    result: Expected, name: str, known: Tensor, plain: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> bool:
    """Whether a parameter's values are those of one result; unless a rule gives them, they are the constructor's."""
    if result.like is not None and not same(values[name], values[result.like]).all():
        return False
    if result.rule is not None:
        return follows(values[name], result.rule)
    return bool(same(values[name], plain[name])[known].all())


def repeated(oracle: Oracle, values: Mapping[str, Tensor]) -> list[str]:
    """Weights that are filled on their own with random values, and have those of another."""
    found, earlier = [], []
    for name, (first, *others) in oracle.expected().items():
        is_random = first.outcome == "filled" and not others and first.rule is not None and first.rule[1] == "Normal"
        if is_random and values[name].dim() == 2:
            found += [f"{name} equals {other}" for other in earlier if torch.equal(values[name], values[other])]
            earlier.append(name)
    return found


def lost(plain: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> list[str]:
    """Parameters and buffers that have unwritten memory where plain construction wrote."""
    return [f"{name}: NaN" for name in plain if (values[name].isnan() & ~plain[name].isnan()).any()]


def wrong_buffers(oracle: Oracle, plain: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> list[str]:
    """Buffers that do not equal the weight they are a copy of, or what the constructor computed."""
    found = []
    for name, buffer in oracle.world.buffers.items():
        known = oracle.known(buffer.numbers)
        holders = [slot for slot in oracle.names if np.array_equal(slot.numbers, buffer.numbers)]
        whole = [slot for slot in holders if not oracle.is_in_series(slot)]
        if whole and all(oracle.settled(slot) for slot in whole):
            first = oracle.names[whole[0]][0]
            if not same(values[name], values[first].to(values[name].dtype)).all():
                found.append(f"{name}: not equal to {first}, of which it is a copy")
        elif not whole and not same(values[name], plain[name])[known].all():
            found.append(f"{name}: not what the constructor computed")
    return found
