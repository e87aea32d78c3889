"""The config that does what the code of a traced model does."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from .. import fills
from ..applying import plan
from ..errors import AutoInitError, ShapeError, StateError
from ..fans import Fans, torch_fans
from ..fills import Fill, TensorSpec
from ..initializers import Initializer, Kaiming, Keep, Uniform
from ..initializers.defaults import default_of
from ..layers import class_name, lineage
from ..planning import CONTAINERS, Plan, Resolver, joined, walk
from ..rules import Rule
from ..tables import Table
from .covering import cover
from .drafts import Draft, Row, Site, given, place_of
from .traces import Trace, TracedParameter
from .written_initializers import DEFAULT, KEEP, TracedTensor, Written, is_same_fill, ways_to_write

ROUNDS = 8
"""How often a config is planned and mended."""
LINE = 118
"""Characters of a rule that is written in one line."""
SHOWN = 3
"""Calls that the comment of a rule names."""


@dataclass(frozen=True, kw_only=True)
class ConfigOfCalls:
    """A config, and how much of a model it fills as the model's own code does.

    Args:
        model: Class name of the model.
        rules: The rules, in their order.
        comments: For each rule the calls that it stands for.
        unsaid: By FQN, what the code did that no rule says.
        total: How many parameters the model has; all but those in `unsaid` get the same fills.
    """

    model: str
    rules: tuple[dict[str, Any], ...]
    comments: tuple[tuple[str, ...], ...]
    unsaid: Mapping[str, str]
    total: int

    @property
    def caption(self) -> str:
        """How many parameters get the same fills."""
        return f"{self.total - len(self.unsaid)} of {self.total} parameters of {self.model} get the same fills."

    def to_yaml(self) -> str:
        """The rules as YAML, with the calls that they stand for as comments."""
        lines = [f"# {self.caption}"]
        for rule, comments in zip(self.rules, self.comments, strict=True):
            lines += [f"# {comment}" for comment in comments]
            lines.append(_yaml(rule))
        lines += ["[]"] if not self.rules else []
        if self.unsaid:
            table = Table(title="", columns=("parameter", "calls"), rows=list(self.unsaid.items())).folded()
            lines += ["# No rule says what these get:", *(f"#   {name}: {text}" for name, text, _ in table.rows)]
        return "\n".join(" ".join(line.splitlines()) if line.startswith("#") else line for line in lines) + "\n"


def _yaml(rule: dict[str, Any]) -> str:
    """One rule as YAML: in one line if it fits."""
    import yaml

    flow = yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    if len(flow) <= LINE:
        return f"- {flow.rstrip()}"
    return str(
        yaml.safe_dump([rule], default_flow_style=None, sort_keys=False, width=LINE, allow_unicode=True)
    ).rstrip()


def config_of_calls(trace: Trace) -> ConfigOfCalls:
    """The shortest config found that fills a model as its own code does; it is planned on the model to make sure.

    Raises:
        StateError: The model is gone.
    """
    root = trace.root
    if root is None:
        raise StateError(
            f"The {trace.model} that was traced is gone, and a config is planned on it. Keep a reference to the model."
        )
    traced = trace.parameters
    observed = {fqn: _tensor(each).fill(each.initializer) for fqn, each in traced.items() if each.initializer}
    rows = _rows(root, traced)
    for _ in range(ROUNDS):
        drafts = cover(rows)
        wrong = list(_planned_otherwise(root, drafts, rows, observed))
        for row, written in wrong:
            row.give_up(written)
        if not wrong:
            break
    return ConfigOfCalls(
        model=trace.model,
        rules=tuple([draft.to_dict() for draft in drafts]),
        comments=tuple([tuple(_comments(draft, drafts, rows, traced)) for draft in drafts]),
        unsaid={
            row.fqn: _calls(traced[row.fqn]) for row in rows if not row.accepts(given(drafts, row)) or KEEP in row.ways
        },
        total=len(rows),
    )


def _planned_otherwise(
    root: nn.Module, drafts: Sequence[Draft], rows: Sequence[Row], observed: Mapping[str, Fill | None]
) -> Iterator[tuple[Row, Written]]:
    """Parameters to which a config gives other fills than the model's own code, and how it was written."""
    try:
        planned = _plan(root, [draft.to_dict() for draft in drafts])
    except AutoInitError as error:
        failed = [row for row in rows if error.fqn in [row.fqn, *(joined(s.module, s.param) for s in row.sites)]]
        if not failed:
            raise
        planned = None
        rows = failed
    for row in rows:
        written = given(drafts, row)
        if written in (None, KEEP):
            continue
        if planned is None or not is_same_fill(planned[row.fqn].fill, observed.get(row.fqn)):
            yield row, written


def _plan(root: nn.Module, cfg: object) -> Plan:
    with warnings.catch_warnings():
        # Tied parameters, rules that overlap: what matters here is what every parameter gets.
        warnings.simplefilter("ignore")
        return plan(root, cfg, unmatched="ignore", own_init="skip")  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Probe(Initializer):
    """An initializer that is defined for every parameter, to see how the layers read the axes of theirs."""

    def fill(self, spec: TensorSpec) -> Fill | None:
        return fills.Constant(1.0) if spec.dtype.is_floating_point and spec.dtype.itemsize > 1 else None


def _layer_fans(root: nn.Module) -> Mapping[str, tuple[Fans, ...]]:
    """By FQN, the fans of a weight by the convention of its layer, one for each kind of map."""
    rules = [Rule(initializer=Probe(), name=["**"], params=["*"])]
    while True:
        try:
            return {fqn: entry.fans for fqn, entry in _plan(root, rules).items()}
        except AutoInitError as error:
            module, _, param = (error.fqn or "").rpartition(".")
            rule = Rule(initializer=Keep(), name=[module or "**"], params=[param])
            if error.fqn is None or rule in rules:
                raise
            rules.append(rule)


def _rows(root: nn.Module, traced: Mapping[str, TracedParameter]) -> list[Row]:
    modules = {node.fqn: node.module for node in walk(root)}
    layer_fans, resolver = _layer_fans(root), Resolver("auto", modules, ())
    rows = []
    for fqn, each in traced.items():
        sites = [site for name in (fqn, *each.aliases) for site in _sites(name, modules)]
        ways: tuple[Written, ...] = ()
        if each.initializer is not None and each.shape is not None:
            beside = traced.get(joined(fqn.rpartition(".")[0], "weight")) if sites[0].param == "bias" else None
            tensor = _tensor(each, layer_fans.get(fqn, ()), beside, *resolver.in_list(fqn, *each.aliases))
            ways = tuple(ways_to_write(each.initializer, tensor))
            if _is_default(each.initializer, tensor, modules.get(fqn.rpartition(".")[0]), sites[0].param):
                ways = (DEFAULT, *ways)
        rows.append(Row(fqn=fqn, sites=sites, ways=dict.fromkeys(ways or (KEEP,))))
    return rows


def _is_default(initializer: Initializer, tensor: TracedTensor, module: nn.Module | None, param: str) -> bool:
    """Whether a parameter has the random values that its layer's constructor draws in a way of its own."""
    if module is None or not isinstance(initializer, Kaiming | Uniform):
        return False
    try:
        default = default_of(module, param)
    except ShapeError:
        return False
    return default is not None and is_same_fill(tensor.fill(default), tensor.fill(initializer))


def _tensor(
    parameter: TracedParameter,
    layer_fans: Sequence[Fans] = (),
    weight: TracedParameter | None = None,
    layer: int | None = None,
    depth: int | None = None,
) -> TracedTensor:
    return TracedTensor(
        shape=parameter.shape or (),
        dtype=parameter.dtype,
        layer_fans=layer_fans[0] if len(layer_fans) == 1 else None,
        weight_fans=torch_fans(weight.shape) if weight is not None and weight.shape is not None else None,
        layer=layer,
        depth=depth,
    )


def _sites(name: str, modules: Mapping[str, nn.Module]) -> Iterator[Site]:
    """The module that has a parameter and its name there; of one in a list, also the module that has the list."""
    fqn, _, param = name.rpartition(".")
    while isinstance(modules.get(fqn), CONTAINERS) and fqn:
        outer, _, part = fqn.rpartition(".")
        yield Site(module=outer, cls=_class(modules[outer]), param=f"{part}.{param}")
        fqn, param = outer, f"{part}.{param}"
    fqn, _, param = name.rpartition(".")
    if fqn in modules:
        yield Site(module=fqn, cls=_class(modules[fqn]), param=param)


def _class(module: nn.Module) -> type:
    """The class to write for a module: of a parametrized or lazy one that which its users know."""
    name = class_name(module)
    own: type = type(module)
    return next((cls for cls in lineage(own) if cls.__name__ == name), own)


def _comments(
    draft: Draft, drafts: Sequence[Draft], rows: Sequence[Row], traced: Mapping[str, TracedParameter]
) -> Iterator[str]:
    """The calls that a rule stands for, those of the most parameters first."""
    calls = Counter(_calls(traced[row.fqn]) for row in rows if place_of(drafts, row) is draft)
    for text, count in calls.most_common(SHOWN):
        yield f"{text}  x{count}" if count > 1 else text
    if len(calls) > SHOWN:
        yield f"... and {len(calls) - SHOWN} other calls"


def _calls(parameter: TracedParameter) -> str:
    """The calls that left a parameter its values, each with its line."""
    calls = [f"{call} at {call.where}" if call.where else str(call) for call in parameter.effective]
    return ", then ".join(calls) or "no call was seen"
