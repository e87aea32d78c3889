"""From dicts to rules, with every error named by its place in the config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ConfigError, ConfigTypeError, nearest, warn
from ..initializers import Initializer, Pretrained, Scheme
from ..rules import UNSET, Rule, Unset
from .bias_prob import bias_init_with_prob
from .containers import plain
from .files import read_config
from .schemes import RULE_KEYS, acts_on_modules, build_scheme, known_arguments, resolve_type

Config = Mapping[str, Any] | Rule | str | os.PathLike[str] | Sequence[Mapping[str, Any] | Rule] | None
"""What users write: a dict, a list of dicts, the path of a file, `Rule` objects, or nothing."""


def parse_config(cfg: object, where: str = "init_cfg", padding: str = "keep") -> tuple[Rule, ...]:
    """The rules of a config, in its order. Nothing of the config is kept or changed.

    Args:
        cfg: see `Config`.
        where: what errors call it.
        padding: `Rule.padding` of rules that do not say it.

    Raises:
        ConfigTypeError: not a config at all, or a value of a wrong type.
        ConfigError: anything else that cannot mean anything.

    Example:
        >>> [rule] = parse_config(dict(type="Normal", layer="Linear", std=0.02))
        >>> rule.initializer, rule.layer, rule.origin
        (Normal(mean=0.0, std=0.02), ('Linear',), 'init_cfg')
    """
    if cfg is None:
        return ()
    if isinstance(cfg, (str, os.PathLike)):
        cfg, where = read_config(cfg)
    cfg = plain(cfg, where)
    items = _items(cfg, where)
    if items is None:
        raise ConfigTypeError(
            f"{where}: a config is a dict, a list of dicts, or the path of a file, not {type(cfg).__name__} {cfg!r}.",
            origin=where,
        )
    return tuple(_item(item, origin, padding) for item, origin in items)


def _items(value: object, origin: str) -> Sequence[tuple[object, str]] | None:
    """One item or those of a list, each with its place in the config; None if it is neither."""
    if isinstance(value, (Mapping, Rule)):
        return [(value, origin)]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [(item, f"{origin}[{index}]") for index, item in enumerate(value)]
    return None


def _item(item: object, origin: str, padding: str) -> Rule:
    if isinstance(item, Rule):
        return item
    keys = _string_keys(item, origin)
    if "type" not in keys:
        raise ConfigError(f"{origin}: no 'type' in {keys}. Add one, such as type='Normal'.", origin=origin)
    overrides = keys.pop("override", None)
    rule = _rule(keys, origin, padding)
    children = () if overrides is None else _overrides(overrides, rule, f"{origin}.override", padding)
    if not rule.selects_by_itself and not children and isinstance(rule.initializer, Initializer):
        warn(
            f"{origin} can match nothing: it has neither layer, name, params nor override. "
            "For every layer write name='**'."
        )
    return replace(rule, override=children)


def _rule(keys: dict[str, Any], origin: str, padding: str, layer_matters: bool = True) -> Rule:
    factory = resolve_type(keys.pop("type"), origin)
    scheme_keys = known_arguments(factory)
    if scheme_keys is None:  # Whatever is no key of a rule goes to the callable, whose own signature judges it.
        reserved = ("name",) if acts_on_modules(factory) else RULE_KEYS
        names = [key for key in keys if key not in reserved]
    else:
        names = [key for key in keys if key in scheme_keys]
    arguments = {key: keys.pop(key) for key in names}
    scheme = build_scheme(factory, arguments, origin)
    for key in keys:
        if key not in RULE_KEYS or isinstance(scheme, Pretrained):
            _refuse_key(key, scheme, scheme_keys or (), origin, is_made=scheme is factory)
    if not layer_matters and keys.pop("layer", None) is not None:
        warn(f"{origin}: 'layer' is ignored in an override, which is for all of its target.")
    bias = _bias(keys, origin)
    selectors = {key: keys[key] for key in ("layer", "name", "params", "fan") if keys.get(key) is not None}
    flags = {"padding": padding} | {key: keys[key] for key in ("padding", "overwrite") if key in keys}
    return Rule(initializer=scheme, bias=bias, origin=origin, **selectors, **flags)


def _bias(keys: dict[str, Any], origin: str) -> float | Unset | None:
    prob = keys.get("bias_prob")
    if prob is None:
        value: float | Unset | None = keys.get("bias", UNSET)
        return value
    try:
        return bias_init_with_prob(prob)
    except ConfigError as error:
        raise type(error)(f"{origin}.{error}", origin=f"{origin}.bias_prob") from error


def _refuse_key(key: str, scheme: Scheme, scheme_keys: Sequence[str], origin: str, *, is_made: bool) -> None:
    name = type(scheme).__name__
    also = () if isinstance(scheme, Pretrained) else RULE_KEYS
    known = ", ".join(scheme_keys) or "no arguments of its own"
    remedy = f"The object {scheme} has its arguments already." if is_made else f"{name} takes: {known}."
    raise ConfigTypeError(
        f"{origin}.{key}: {name} has no argument {key!r}.{nearest(key, [*scheme_keys, *also])} {remedy}",
        origin=f"{origin}.{key}",
    )


def _overrides(overrides: object, parent: Rule, origin: str, padding: str) -> tuple[Rule, ...]:
    items = None if isinstance(overrides, Rule) else _items(overrides, origin)
    if items is None:
        raise ConfigTypeError(
            f"{origin}: {overrides!r} must be a dict or a list of dicts, not {type(overrides).__name__}.", origin=origin
        )
    return tuple(_override(item, parent, place, padding) for item, place in items)


def _override(item: object, parent: Rule, origin: str, padding: str) -> Rule:
    if isinstance(item, Rule):
        return item
    keys = _string_keys(item, origin)
    if "override" in keys:
        raise ConfigError(
            f"{origin}.override: an override has none of its own. Write it beside this one.",
            origin=f"{origin}.override",
        )
    if not keys.get("name"):
        raise ConfigError(f"{origin}: no 'name' in {keys}. Say which submodule it is for.", origin=origin)
    if "type" in keys:
        target = keys.pop("name")  # Of a checkpoint, too.
        return replace(_rule(keys, origin, padding, layer_matters=False), name=target)
    others = sorted(set(keys) - {"name"})
    if others:
        raise ConfigError(
            f"{origin}: {', '.join(map(repr, others))} without a 'type'. Name the type (an override with one inherits "
            "nothing), or leave only 'name' (then it inherits all).",
            origin=origin,
        )
    return replace(parent, name=keys["name"], layer=(), override=(), origin=origin)


def _string_keys(item: object, origin: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigTypeError(f"{origin}: {item!r} must be a dict, not {type(item).__name__}.", origin=origin)
    for key in item:
        if not isinstance(key, str):
            raise ConfigTypeError(f"{origin}: key {key!r} must be a string.", origin=origin)
    return dict(item.items())
