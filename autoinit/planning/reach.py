"""Whether rules can reach anything at all, asked of classes before a model is walked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from ..initializers import Initializer
from ..layers import is_layer
from ..rules import Rule


def can_reach(rules: Sequence[Rule], modules: Iterable[nn.Module]) -> bool:
    """False only if no rule can select any of the modules, and none of them has anything to say itself.

    A block around a model that its rules are not about costs no more than this.

    Example:
        >>> from torch import nn
        >>> from autoinit.config import parse_config
        >>> can_reach(parse_config(dict(type="Normal", layer="Conv2d")), [nn.Linear(1, 1)])
        False
    """
    classes: set[type] = set()
    for module in modules:
        if "init_cfg" in module.__dict__:
            return True
        classes.add(type(module))
    if any(hasattr(cls, "init_weights") or hasattr(cls, "init_cfg") for cls in classes):
        return True
    return any(_may_select(rule, classes) for rule in rules)


def _may_select(rule: Rule, classes: Iterable[type]) -> bool:
    if rule.override or not isinstance(rule.initializer, Initializer):
        return True
    if not rule.layer:
        return rule.selects_by_itself
    return any(is_layer(cls, layer) for cls in classes for layer in rule.layer)
