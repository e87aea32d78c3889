"""The JSON Schema of configs, made from the registered initializers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..initializers import registered
from ..initializers.expression import NAMES

STRINGS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
CONDITION = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\s*([<>=!]=|[<>])?\s*\d+\s*$"}]
}
ONE_NUMBER = [
    {"type": "number"},
    {"type": "string", "pattern": rf"[-+*/()]|^\s*({'|'.join(NAMES)}|pi)\s*$", "description": "an expression"},
]
NUMBER: Mapping[str, Any] = {"oneOf": [*ONE_NUMBER, {"type": "array", "items": {"oneOf": ONE_NUMBER}, "minItems": 1}]}
KEYS: Mapping[str, Mapping[str, object]] = {
    "layer": {**STRINGS, "description": "class name of the layers, or a list; subclasses match"},
    "name": {**STRINGS, "description": "glob over module names: layer*.conv1, '**.attn', 're:...'; or a parameter's"},
    "params": {**STRINGS, "description": "glob over parameter names, with dots over full ones; default: weight, bias"},
    "within": {**STRINGS, "description": "class of the module or of one around it, or a list"},
    "ndim": {
        "anyOf": [CONDITION, {"type": "array", "items": CONDITION, "minItems": 1}],
        "description": "number of dimensions of the parameter: 2, '>1', '!=1'; a list means any of them",
    },
    "bias": {
        "oneOf": [*NUMBER["oneOf"], {"type": "null"}],
        "description": "value of the bias, an expression, or a list of values; null leaves it alone",
    },
    "bias_prob": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "description": "prior probability"},
    "fan": {"description": "how the axes of a weight are read: layer, torch, 'out,in', ..."},
    "padding": {"enum": ["keep", "fill"], "description": "the row padding_idx of an embedding"},
    "overwrite": {"type": "boolean", "description": "fill data as well, not only initialization"},
    "scale": {**NUMBER, "description": "factor on what the initializer gives"},
}
"""What the keys of a rule are that do not belong to its initializer."""


def json_schema() -> dict[str, Any]:
    """The schema of a config file: a rule, a list of rules, or either under `init_cfg`.

    Example:
        >>> sorted(json_schema()["$defs"]["Normal"]["properties"])[:4]
        ['bias', 'bias_prob', 'fan', 'layer']
    """
    rule = {"$ref": "#/$defs/rule"}
    config = {"oneOf": [rule, {"type": "array", "items": rule}]}
    types = sorted(set(registered))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autoinit config",
        "oneOf": [{"type": "object", "required": ["init_cfg"], "properties": {"init_cfg": config}}, *config["oneOf"]],
        "$defs": {
            "rule": {"type": "object", "required": ["type"], "anyOf": [{"$ref": f"#/$defs/{name}"} for name in types]},
            **{name: _rule(name, registered[name]) for name in types},
        },
    }


def _rule(name: str, initializer: Any) -> dict[str, Any]:
    """The schema of a rule with one initializer."""
    hints = get_type_hints(initializer)
    own = {field.name: _property(field, hints[field.name]) for field in fields(initializer) if field.init}
    needed = [
        field.name
        for field in fields(initializer)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    ]
    override = {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
    return {
        "type": "object",
        "description": (initializer.__doc__ or "").partition("\n")[0],
        "required": ["type", *needed],
        "properties": {"type": {"enum": [name, f"{name}Init"]}, **KEYS, **own, "override": override},
        "additionalProperties": False,
    }


def _property(field: Any, hint: Any) -> dict[str, Any]:
    """The schema of one argument."""
    found: Mapping[str, Any] = _type(hint)
    if "number" in field.metadata:  # Or an expression; or one number for each map.
        found = NUMBER if field.default is not None else {"oneOf": [*NUMBER["oneOf"], {"type": "null"}]}
    return dict(found) if field.default is MISSING else {**found, "default": field.default}


def _type(hint: Any) -> dict[str, Any]:
    simple = {float: "number", int: "integer", str: "string", bool: "boolean", type(None): "null"}
    if hint in simple:
        return {"type": simple[hint]}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    parts = [_type(each) for each in get_args(hint)] if type(hint).__name__ == "UnionType" else []
    return {"anyOf": [part for part in parts if part]} if parts and all(parts) else {}
