"""The config that does what the code of a traced model does."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from ..applying import plan
from ..errors import AutoInitError, ShapeError, StateError
from ..fans import Fans, own_layout, torch_fans
from ..initializers import Initializer, Kaiming, LeCun, Uniform, resolve
from ..initializers.defaults import default_of
from ..layers import class_name, lineage
from ..planning import CONTAINERS, Plan, Resolver, joined, walk
from ..tables import Table
from .covering import Cover, Row, Site
from .traces import Trace, TracedParameter
from .written_initializers import DEFAULT, TracedTensor, Written, is_same_fill, ways_to_write

ROUNDS = 8
"""How often a config is planned and mended."""
LINE = 118
"""Characters of a rule that is written in one line."""
SHOWN = 3
"""Calls that the comment of a rule names."""


class ConfigOfCalls:
    """The shortest config found that fills a model as its own code does; it is planned on the model to make sure.

    Args:
        trace: Trace of the model.

    Raises:
        StateError: The model is gone.
    """

    def __init__(self, trace: Trace) -> None:
        root = trace.root
        if root is None:
            raise StateError(
                f"The {trace.model} that was traced is gone, and a config is planned on it. Keep a reference to the "
                "model."
            )
        self._trace = trace
        self._cover = Cover(list(_rows(root, trace.parameters)))
        for _ in range(ROUNDS):
            self._drafts = self._cover.drafts()
            wrong = list(self._planned_otherwise(root))
            for row, wrong_way in wrong:
                row.ways = [way for way in row.ways if way != wrong_way]
            if not wrong:
                break

    def _planned_otherwise(self, root: nn.Module) -> Iterator[tuple[Row, Written]]:
        """Parameters to which the config gives other fills than the model's own code, and how it was written."""
        given = self._cover.given(self._drafts)
        rows = [row for row in given if row.ways]
        planned: Plan | None = None
        try:
            with warnings.catch_warnings():
                # Tied parameters, rules that overlap: what matters here is what every parameter gets.
                warnings.simplefilter("ignore")
                planned = plan(root, self.rules, unmatched="ignore", own_init="skip")
        except AutoInitError as error:
            rows = [row for row in rows if error.fqn in [row.fqn, *(joined(s.module, s.param) for s in row.sites)]]
            if not rows:
                raise
        for row in rows:
            if planned is None or not is_same_fill(planned[row.fqn].fill, row.fill):
                yield row, given[row]

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The rules, in their order."""
        return [draft.to_dict() for draft in self._drafts]

    def to_yaml(self) -> str:
        """The rules as YAML, with the calls that they stand for, and what no rule says, as comments."""
        rows, given, traced = self._cover.rows, self._cover.given(self._drafts), self._trace.parameters
        unsaid = [(row.fqn, _calls(traced[row.fqn])) for row in rows if not row.ways or not row.accepts(given.get(row))]
        same = f"{len(rows) - len(unsaid)} of {len(rows)} parameters"
        lines = [f"# {same} of {self._trace.model} get the same fills."]
        filled_by = {row: draft for draft in self._drafts for row in self._cover.given_by(draft)}
        for draft in self._drafts:
            calls = Counter(_calls(traced[row.fqn]) for row in rows if filled_by.get(row) is draft)
            lines += [f"# {text}  x{count}" if count > 1 else f"# {text}" for text, count in calls.most_common(SHOWN)]
            lines += [f"# ... and {len(calls) - SHOWN} other calls"] if len(calls) > SHOWN else []
            lines.append(_yaml(draft.to_dict()))
        lines += [] if self._drafts else ["[]"]
        if unsaid:
            table = Table(title="", columns=("parameter", "calls"), rows=unsaid).folded()
            lines += ["# No rule says what these get:", *(f"#   {name}: {text}" for name, text, _ in table.rows)]
        return "\n".join(" ".join(line.splitlines()) if line.startswith("#") else line for line in lines) + "\n"


def _yaml(rule: dict[str, Any]) -> str:
    """One rule as YAML: in one line if it fits."""
    import yaml

    flow = yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    block = yaml.safe_dump([rule], default_flow_style=None, sort_keys=False, width=LINE, allow_unicode=True)
    return f"- {flow}".rstrip() if len(flow) <= LINE else str(block).rstrip()


def _calls(parameter: TracedParameter) -> str:
    """The calls that left a parameter its values, each with its line."""
    calls = [f"{call} at {call.where}" if call.where else str(call) for call in parameter.effective]
    return ", then ".join(calls) or "no call was seen"


def _rows(root: nn.Module, traced: Mapping[str, TracedParameter]) -> Iterator[Row]:
    """What a cover needs to know of each parameter."""
    modules = {node.fqn: node.module for node in walk(root)}
    resolver = Resolver("auto", modules, ())
    for fqn, each in traced.items():
        row = Row(fqn=fqn, sites=[site for name in (fqn, *each.aliases) for site in _sites(name, modules)])
        if each.initializer is not None and each.shape is not None:
            module, param = fqn.rpartition(".")[0], row.sites[0].param
            beside = traced.get(joined(module, "weight")) if param == "bias" else None
            layer, depth = resolver.in_list(fqn, *each.aliases)
            tensor = TracedTensor(
                shape=each.shape,
                dtype=each.dtype,
                layer_fans=_layer_fans(modules.get(module), param, each.shape),
                weight_fans=torch_fans(beside.shape) if beside is not None and beside.shape is not None else None,
                layer=layer,
                depth=depth,
            )
            row.fill, row.ways = tensor.fill(each.initializer), ways_to_write(each.initializer, tensor)
            default = _default(modules.get(module), param)
            # Only the random values that a layer's constructor draws in a way of its own.
            if isinstance(each.initializer, Kaiming | Uniform) and default is not None:
                row.ways = [*([DEFAULT] if is_same_fill(tensor.fill(default), row.fill) else []), *row.ways]
        yield row


def _layer_fans(owner: nn.Module | None, param: str, shape: tuple[int, ...]) -> Fans | None:
    """Fans by a layer's convention; None if the weight has none, or several maps with fans of their own."""
    with suppress(ShapeError):
        found = () if owner is None else resolve(LeCun(), shape, torch.float32, own_layout(owner, param)).fans
        return found[0] if len(found) == 1 else None
    return None


def _default(owner: nn.Module | None, param: str) -> Initializer | None:
    """What a layer's constructor gives a parameter, if that is known."""
    with suppress(ShapeError):
        return None if owner is None else default_of(owner, param)
    return None


def _sites(name: str, modules: Mapping[str, nn.Module]) -> Iterator[Site]:
    """The module that has a parameter and its name there; of one in a list, also the module that has the list."""
    fqn, _, param = name.rpartition(".")
    while isinstance(modules.get(fqn), CONTAINERS) and fqn:
        fqn, _, part = fqn.rpartition(".")
        param = f"{part}.{param}"
        yield Site(module=fqn, cls=_class(modules[fqn]), param=param)
    fqn, _, param = name.rpartition(".")
    if fqn in modules:
        yield Site(module=fqn, cls=_class(modules[fqn]), param=param)


def _class(module: nn.Module) -> type:
    """The class to write for a module: of a parametrized or lazy one that which its users know."""
    name = class_name(module)
    own: type = type(module)
    return next((cls for cls in lineage(own) if cls.__name__ == name), own)
