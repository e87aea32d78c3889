"""Configs that mean something for a model: their selectors match, and their schemes are defined for what they match."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from autoinit import AutoInitWarning, plan
from autoinit.fills import Constant

from .descriptions import Branch, Layer, built_aside

Shape = tuple[int, ...]
Schemes = st.SearchStrategy[dict[str, Any]]

_NUMBERS = st.sampled_from((0.0, 1.0, -1.0, 0.5, 2.0, 0.02))
_POSITIVE = st.sampled_from((1.0, 0.5, 0.02, 2.0))

_FACTORS = st.sampled_from((0.5, -2.0, "sqrt(2)/2"))
_GAINS = st.sampled_from((1.0, 0.5, "1/(1 + fan_in)", "min(2, 1 + dim/(1 + fan_out))"))

_ANY_CONSTANT: Schemes = st.fixed_dictionaries({"type": st.just("Constant"), "val": _NUMBERS})
_NOWHERE_ZERO: Schemes = st.fixed_dictionaries({"type": st.just("Constant"), "val": _POSITIVE})
_DRAWN: tuple[Schemes, ...] = (
    st.fixed_dictionaries(
        {"type": st.just("Normal"), "std": _POSITIVE}, optional={"mean": _NUMBERS, "scale": _FACTORS}
    ),
    st.builds(lambda a, width: {"type": "Uniform", "a": a, "b": a + width}, _NUMBERS, _POSITIVE),
    st.builds(
        lambda std, cut: {"type": "TruncNormal", "std": std, "a": -cut * std, "b": cut * std},
        _POSITIVE,
        st.sampled_from((2.0, 1.0, 3.0)),
    ),
    st.builds(lambda std, cut: {"type": "TruncNormal", "std": std, "cut": cut}, _POSITIVE, st.sampled_from((2.0, 1.0))),
)
_BY_FAN: tuple[Schemes, ...] = (
    st.fixed_dictionaries(
        {"type": st.just("Kaiming")},
        optional={
            "mode": st.sampled_from(("fan_in", "fan_out")),
            "distribution": st.sampled_from(("normal", "uniform")),
            "nonlinearity": st.sampled_from(("relu", "leaky_relu")),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("Xavier")}, optional={"gain": _GAINS, "distribution": st.sampled_from(("normal", "uniform"))}
    ),
    st.just({"type": "Caffe2Xavier"}),
    st.just({"type": "LeCun"}),
    st.fixed_dictionaries(
        {"type": st.just("VarianceScaling")},
        optional={"scale": _POSITIVE, "mode": st.sampled_from(("fan_in", "fan_out", "fan_avg", "fan_geo_avg"))},
    ),
    st.fixed_dictionaries({"type": st.just("Orthogonal")}, optional={"gain": _GAINS, "scale": _FACTORS}),
)
_OF_MATRICES: tuple[Schemes, ...] = (
    st.fixed_dictionaries({"type": st.just("Eye")}, optional={"gain": _POSITIVE}),
    st.builds(lambda sparsity: {"type": "Sparse", "sparsity": sparsity}, st.sampled_from((0.0, 0.5, 0.9))),
)
_OF_CONVOLUTIONS: tuple[Schemes, ...] = (st.just({"type": "Dirac"}),)


def schemes(*shapes: Shape) -> Schemes:
    """Schemes as configs spell them, each defined for parameters of all these shapes; shrinks to the constant 0.

    Without shapes: those that are defined for any.
    """
    return _schemes(frozenset(len(shape) for shape in shapes))


@cache
def _schemes(dimensions: frozenset[int], is_computed: bool = False) -> Schemes:
    # A weight that is divided by its norm cannot be zero, nor a row of it.
    defined = [_NOWHERE_ZERO if is_computed else _ANY_CONSTANT, *_DRAWN]
    if dimensions and min(dimensions) >= 2:
        defined += _BY_FAN
        if dimensions == {2} and not is_computed:
            defined += _OF_MATRICES
        if dimensions <= {3, 4, 5} and not is_computed:
            defined += _OF_CONVOLUTIONS
    return st.one_of(defined)


class _Matched(NamedTuple):
    """How many dimensions the parameters have that a selector matches, and whether any of them is computed."""

    dimensions: frozenset[int] = frozenset()
    is_computed: bool = False

    def __bool__(self) -> bool:
        return bool(self.dimensions)


@dataclass(frozen=True)
class _Model:
    """A model, and what selectors of it there are."""

    module: nn.Module

    @cached_property
    def classes(self) -> list[str]:
        """Names by which rules can be for modules that have a weight or a bias."""
        owners = [part for part in self.module.modules() if any(_has(part, name) for name in ("weight", "bias"))]
        ancestors = (base for part in owners for base in type(part).__mro__ if base.__name__ != "ParametrizedModule")
        below = (base for base in ancestors if issubclass(base, nn.Module) and base is not nn.Module)
        return list(dict.fromkeys(base.__name__ for base in below if not base.__name__.startswith("Parametrized")))

    @cached_property
    def names(self) -> list[str]:
        patterns: list[str] = []
        for fqn, _ in self.module.named_modules():
            if not fqn or "parametrizations" in fqn:
                continue
            first, _, rest = fqn.partition(".")
            *_, last = fqn.split(".")
            patterns += [fqn, f"**.{last}", f"{first}.**", f"*.{rest}" if rest else "*", f"re:.*{last}"]
        return list(dict.fromkeys([*patterns, "**"]))

    @cached_property
    def params(self) -> list[str]:
        own = (fqn.rpartition(".")[2] for fqn, _ in self.module.named_parameters() if "parametrizations" not in fqn)
        return ["*", *dict.fromkeys(own)]

    @cached_property
    def targets(self) -> list[str]:
        """Names for an override of the root: modules at any depth that have a weight or a bias."""
        below = [fqn for fqn, _ in self.module.named_modules() if fqn and "parametrizations" not in fqn]
        return [fqn for fqn in below if self.matched({"name": [fqn, f"{fqn}.**"]})]

    @cached_property
    def selectors(self) -> st.SearchStrategy[dict[str, Any]]:
        """Ways to select something; together they may be about nothing."""
        name = st.sampled_from(self.names)
        params = st.sampled_from(self.params)
        names = st.one_of(name, st.lists(name, min_size=2, max_size=2, unique=True) if self.names[1:] else name)
        if not self.classes:
            return st.one_of(
                st.fixed_dictionaries({"params": params}), st.fixed_dictionaries({"params": params, "name": names})
            )
        cls = st.sampled_from(self.classes)
        layer = st.one_of(cls, st.lists(cls, min_size=1, max_size=3, unique=True))
        return st.one_of(
            st.fixed_dictionaries({"layer": layer}),
            st.fixed_dictionaries({"name": names}),
            st.fixed_dictionaries({"layer": layer, "name": names}),
            st.fixed_dictionaries({"params": params}),
            st.fixed_dictionaries({"params": params, "name": names}),
            st.fixed_dictionaries({"params": params, "layer": layer, "name": names}),
        )

    def matching(self, selector: dict[str, Any]) -> tuple[dict[str, Any], _Matched]:
        """A selector that matches something, as much of this one as does, with what that is."""
        for dropped in ((), ("name",), ("name", "layer")):
            kept = {key: value for key, value in selector.items() if key not in dropped}
            matched = self.matched(kept) if kept else _Matched()
            if matched:
                return kept, matched
        return self.anything

    @cached_property
    def anything(self) -> tuple[dict[str, Any], _Matched]:
        """A selector for as much as there is: of a model whose parameters are all called bias, for those."""
        everything = self.matched({"params": "*"})
        if everything:
            return {"params": "*"}, everything
        return {"params": "bias"}, self.matched({"params": "bias"})

    def matched(self, selector: dict[str, Any]) -> _Matched:
        """Parameters that get the scheme of a rule, not its value for biases."""
        with warnings.catch_warnings():
            # The init_cfg of the model itself has rules of its own.
            warnings.simplefilter("ignore", AutoInitWarning)
            planned = plan(self.module, dict(selector, type="Constant", val=1), unmatched="ignore")
        found = [
            entry
            for entry in planned.values()
            if entry.shape is not None
            and any(rule.origin == "init_cfg" for rule in (entry.rule, *entry.overrides) if rule is not None)
            # A bias that is tied to a weight gets the scheme of that one where a rule leaves biases alone.
            and not (entry.origin == "init_cfg" and entry.fill == Constant(value=0.0) and not entry.aliases)
        ]
        return _Matched(
            frozenset(len(entry.shape) for entry in found if entry.shape is not None),
            is_computed=any(entry.through for entry in found),
        )


def _has(module: nn.Module, name: str) -> bool:
    return name in module._parameters or parametrize.is_parametrized(module, name)


_BIASES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from((0, 1, None, -0.5)).map(lambda value: {"bias": value}),
    st.sampled_from((0.5, 0.01)).map(lambda value: {"bias_prob": value}),
)
_NO_BIAS: st.SearchStrategy[dict[str, Any]] = st.just({})


@st.composite
def _overrides(
    draw: st.DrawFn, model: _Model, own: Schemes | None, inherited: dict[str, Any] | None = None
) -> dict[str, Any]:
    target = draw(st.sampled_from(model.targets))
    matched = model.matched({"name": [target, f"{target}.**"]})
    is_defined = inherited is not None and not (matched.is_computed and inherited.get("val") == 0)
    has_type = draw(st.booleans()) if is_defined else True  # False is what a failing example shrinks to.
    if not has_type:
        return {"name": target}
    return {"name": target, **draw(_schemes(*matched) if own is None else own), **draw(_BIASES)}


@st.composite
def _rules(draw: st.DrawFn, model: _Model, own: Schemes | None, with_overrides: bool) -> dict[str, Any]:
    selector, matched = model.matching(draw(model.selectors))
    biases = _BIASES if selector.get("params", "*") == "*" else _NO_BIAS
    rule = {**draw(_schemes(*matched) if own is None else own), **selector, **draw(biases)}
    if with_overrides and model.targets and draw(st.booleans()):
        anywhere = rule["type"] in ("Constant", "Normal", "Uniform", "TruncNormal")
        one = _overrides(model, own, rule if anywhere and set(selector) <= {"layer", "name"} else None)
        rule["override"] = draw(st.one_of(one, st.lists(one, min_size=1, max_size=2)))
    return rule


def configs(
    tree: Branch | Layer | nn.Module, *, schemes: Schemes | None = None, max_rules: int = 4, overrides: bool = True
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Configs for a model: each rule matches something, with a scheme that is defined for what it matches.

    Planning such a config raises nothing. It may warn that an override loses to a later rule, or that two rules
    disagree about a tied parameter: lists of random rules do so.

    Args:
        tree: a description, or a model; what it says of its own initialization is not looked at.
        schemes: where `type` and its arguments come from; by default any that is defined for the shapes that match.
        max_rules: how many rules there are at most.
        overrides: whether some have overrides.
    """
    model = _Model(tree if isinstance(tree, nn.Module) else built_aside(tree))
    if not model.anything[1]:
        return st.just([])
    return st.lists(_rules(model, schemes, overrides), min_size=1, max_size=max_rules)
