"""From dicts to rules, with every error named by its place in the config."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from torch import nn

from ..errors import ConfigError, ConfigTypeError, config_error, nearest, warn
from ..initializers import Function, Initializer, Kaiming, Pretrained, Scaled, Scheme, TruncNormal
from ..initializers.given_numbers import plain_number
from ..rules import UNSET, Rule
from .files import read_config
from .schemes import acts_on_modules, build_scheme, known_arguments, resolve_type, takes_argument

Config = Mapping[str, Any] | Rule | str | os.PathLike[str] | Sequence[Mapping[str, Any] | Rule] | None
"""What users write: a dict, a list of dicts, the path of a file, `Rule` objects, or nothing."""

RULE_KEYS = ("layer", "name", "params", "within", "ndim", "bias", "bias_prob", "fan", "padding", "overwrite", "scale")
"""The keys of a rule that are not hyper-parameters of its initializer, besides `type` and `override`."""
NEW_KEYS = ("within", "ndim", "scale")
"""Those of them that users' functions may have had as arguments before."""


def parse_config(
    cfg: object, where: str = "init_cfg", padding: str = "keep", *, passed: bool = True
) -> tuple[Rule, ...]:
    """The rules of a config, in its order. Nothing of the config is kept or changed.

    Args:
        cfg: see `Config`.
        where: what errors call it.
        padding: `Rule.padding` of rules that do not say it.
        passed: whether the user passed it, and can mend what is probably a mistake.

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
    try:
        cfg = _copied(cfg, where)
    except RecursionError as error:
        raise config_error(where, "a list or dict in it contains itself.") from error
    items = _items(cfg, where)
    if items is None:
        raise config_error(where, _not_a_config(cfg), ConfigTypeError)
    return tuple([_rule(item, origin, padding, passed) for item, origin in items])


def _not_a_config(cfg: object) -> str:
    """The message for a value that is no config."""
    given, remedy = f"{type(cfg).__name__} {cfg!r}", ""
    if isinstance(cfg, nn.Module):
        given = f"a model ({type(cfg).__name__})"
        remedy = " For a model that exists already call autoinit.initialize(model, cfg)."
    elif isinstance(cfg, type) and issubclass(cfg, nn.Module):
        given, remedy = f"the class {cfg.__name__}", " Build the model in a block: `with autoinit(cfg): model = ...`."
    elif cfg is None:  # Of a file: None itself is a config without rules.
        given, remedy = "an empty file", " Write a rule, such as {type: Normal, layer: Linear}, or [] for no rules."
    elif isinstance(cfg, str) and ":" in cfg:
        remedy = " In YAML a space follows each colon."
    return f"a config is a dict, a list of dicts, or the path of a file, not {given}.{remedy}"


def bias_init_with_prob(prior_prob: float) -> float:
    """The bias at which a sigmoid outputs `prior_prob`: `-log((1 - p) / p)`.

    Args:
        prior_prob: a float strictly between 0 and 1.

    Raises:
        ConfigTypeError: not a float.
        ConfigError: not strictly between 0 and 1.

    Source: Lin et al. 2017, "Focal loss for dense object detection", section 4.1.

    Example:
        >>> round(bias_init_with_prob(0.01), 5)
        -4.59512
    """
    given, prior_prob = prior_prob, cast(float, plain_number(prior_prob))
    if not isinstance(prior_prob, float):
        raise ConfigTypeError(f"bias_prob={given!r} must be a float, not {type(given).__name__}.")
    if not 0 < prior_prob < 1:
        raise ConfigError(f"bias_prob={prior_prob!r} must lie strictly between 0 and 1.")
    return -math.log((1 - prior_prob) / prior_prob)


def _copied(value: Any, origin: str) -> object:
    """A config with plain dicts and lists in place of other libraries' containers; what these hold is kept."""
    is_mapping = isinstance(value, (MutableMapping, MappingProxyType))
    if is_mapping:
        places = {key: f"{origin}.{key}" for key in value}
    elif type(value) is tuple or (isinstance(value, MutableSequence) and not isinstance(value, bytearray)):
        places = {index: f"{origin}[{index}]" for index in range(len(value))}
    else:
        return value
    copied = {}
    for key, place in places.items():
        try:
            item = value[key]
        except Exception as error:  # Any library's: an unresolved interpolation of omegaconf's is one.
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise config_error(place, f"{text}.") from error
        copied[key] = _copied(item, place)
    return copied if is_mapping else tuple(copied.values()) if type(value) is tuple else list(copied.values())


def _items(value: object, origin: str) -> Sequence[tuple[object, str]] | None:
    """One item or those of a list, each with its place in the config; None if it is neither."""
    if isinstance(value, (Mapping, Rule)):
        return [(value, origin)]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [(item, f"{origin}[{index}]") for index, item in enumerate(value)]
    return None


def _rule(item: object, origin: str, padding: str, passed: bool, parent: Rule | None = None) -> Rule:
    """The rule of one item; `parent` if it is an override."""
    if isinstance(item, Rule):
        return item
    if not isinstance(item, Mapping):
        raise config_error(origin, f"{item!r} must be a dict, not {type(item).__name__}.", ConfigTypeError)
    for key in item:
        if not isinstance(key, str):
            raise config_error(origin, f"key {key!r} must be a string.", ConfigTypeError)
    keys = dict(item.items())
    if parent is not None:
        return _override(keys, origin, padding, passed, parent)
    if "type" not in keys:
        raise config_error(origin, f"no 'type' in {keys}. Add one, such as type='Normal'.")
    overrides = keys.pop("override", None)
    rule = _built(keys, origin, padding, passed)
    if overrides is not None:
        items = None if isinstance(overrides, Rule) else _items(overrides, f"{origin}.override")
        if items is None:
            text = f"{overrides!r} must be a dict or a list of dicts, not {type(overrides).__name__}."
            raise config_error(f"{origin}.override", text, ConfigTypeError)
        rule = replace(rule, override=tuple(_rule(each, place, padding, passed, rule) for each, place in items))
    if not rule.selects_by_itself and not rule.override and isinstance(rule.initializer, Initializer):
        warn(
            f"{origin} can match nothing: it has neither layer, name, params nor override. "
            "For every layer write name='**'."
        )
    return rule


def _override(keys: dict[str, Any], origin: str, padding: str, passed: bool, parent: Rule) -> Rule:
    if "override" in keys:
        raise config_error(f"{origin}.override", "an override has none of its own. Write it beside this one.")
    if keys.get("name") in (None, "", [], ()):  # 0 is a name without its quotes.
        raise config_error(origin, f"no 'name' in {keys}. Say which submodule it is for.")
    if "type" in keys:
        target = keys.pop("name")  # Of a checkpoint, too.
        return replace(_built(keys, origin, padding, passed, is_override=True), name=target)
    others = sorted(set(keys) - {"name", "scale"})
    if others:
        raise config_error(
            origin,
            f"{', '.join(map(repr, others))} without a 'type'. Name the type (an override with one inherits nothing), "
            "or leave only 'name', with a 'scale' if wanted (then it inherits all).",
        )
    scheme = parent.initializer
    if keys.get("scale") is not None:
        scheme = _scaled(scheme.of if isinstance(scheme, Scaled) else scheme, keys["scale"], origin)
    return replace(parent, initializer=scheme, name=keys["name"], layer=(), within=(), override=(), origin=origin)


def _built(keys: dict[str, Any], origin: str, padding: str, passed: bool, *, is_override: bool = False) -> Rule:
    """A rule of keys among which is a `type`."""
    scheme = _scheme(keys, origin, passed)
    if is_override and keys.pop("layer", None) is not None:
        warn(f"{origin}: 'layer' is ignored in an override, which is for all of its target.")
    bias = keys.get("bias", UNSET)
    if keys.get("bias_prob") is not None:
        try:
            bias = bias_init_with_prob(keys["bias_prob"])
        except ConfigError as error:
            raise type(error)(f"{origin}.{error}", origin=f"{origin}.bias_prob") from error
    fields = {
        key: keys[key] for key in ("layer", "name", "params", "within", "ndim", "fan") if keys.get(key) is not None
    }
    fields |= {key: keys[key] for key in ("padding", "overwrite") if key in keys}
    return Rule(**{"initializer": scheme, "bias": bias, "origin": origin, "padding": padding, **fields})


def _scheme(keys: dict[str, Any], origin: str, passed: bool) -> Scheme:
    """The initializer, whose keys are removed from `keys`; ConfigTypeError if any that is left is no key of a rule."""
    factory = resolve_type(keys.pop("type"), origin)
    known = known_arguments(factory)
    if known is None:  # A callable gets all keys that are no key of a rule, and its signature checks them.
        reserved = ("name",) if acts_on_modules(factory) else RULE_KEYS
        names = [key for key in keys if key not in reserved or (key in NEW_KEYS and takes_argument(factory, key))]
    else:
        names = [key for key in keys if key in known]
    arguments = {key: keys.pop(key) for key in names}
    try:
        scheme = build_scheme(factory, arguments)
    except ConfigError as error:
        raise config_error(origin, str(error), type(error)) from error
    allowed = ("name", "params") if isinstance(scheme, Pretrained) else RULE_KEYS
    for key in keys:
        if key not in allowed:
            name, takes = type(scheme).__name__, ", ".join(known or ()) or "no arguments of its own"
            remedy = (
                f"The object {scheme} has its arguments already." if scheme is factory else f"{name} takes: {takes}."
            )
            text = f"{name} has no argument {key!r}.{nearest(key, [*(known or ()), *allowed])} {remedy}"
            raise config_error(f"{origin}.{key}", text, ConfigTypeError)
    _warn_of_numbers(scheme, origin, has_bounds=not passed or scheme is factory or bool({"a", "b"} & arguments.keys()))
    scale = keys.pop("scale", None)
    return scheme if scale is None else _scaled(scheme, scale, origin)


def _warn_of_numbers(scheme: Scheme, origin: str, *, has_bounds: bool) -> None:
    """Warn of arguments that have no effect: a slope without its activation, the default bounds of `TruncNormal`."""
    if isinstance(scheme, Kaiming) and scheme.a and scheme.nonlinearity != "leaky_relu":
        warn(
            f"{origin}: Kaiming: a={scheme.a} has no effect with nonlinearity={scheme.nonlinearity!r}. "
            f"torch.nn.init.kaiming_{scheme.distribution}_ has nonlinearity='leaky_relu' and mode='fan_in': "
            "write them for its values, or remove a."
        )
    if isinstance(scheme, TruncNormal) and not has_bounds and scheme.truncates_nothing:
        warn(
            f"{origin}: {scheme} truncates nothing: its bounds are the values a=-2 and b=2, not multiples of std. "
            "For two standard deviations write cut=2; for torch's trunc_normal_ as it is, write a=-2, b=2."
        )


def _scaled(scheme: Scheme, scale: object, origin: str) -> Scaled:
    """An initializer times the value of the key `scale`."""
    place, name = f"{origin}.scale", type(scheme).__name__
    if not isinstance(scheme, Initializer):
        raise config_error(place, f"the values of {scheme} cannot be scaled. Remove the key.", ConfigTypeError)
    if not isinstance(scheme, Function) and hasattr(scheme, "scale"):
        text = f"{name} has an argument 'scale' of its own, which is no factor. Write the type with all its arguments."
        raise config_error(place, text)
    try:
        return Scaled(of=scheme, scale=scale)  # type: ignore[arg-type]
    except ConfigError as error:
        raise config_error(
            place, str(error).replace(f"Scaled: scale={scale!r}", f"{scale!r}", 1), type(error)
        ) from error
