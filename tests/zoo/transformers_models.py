"""Every config of transformers, as small as it can be made, with the model of its name and one with a head."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import os
import pkgutil
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .operators import torchvision_operators
from .shrinking import DIVISORS, shrunk
from .subjects import Builder, Subject

# transformers imports torchvision if it finds it.
torchvision_operators()

from transformers import PreTrainedModel  # noqa: E402
from transformers.models.auto import configuration_auto, modeling_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

from .tiny_configs import ARGUMENTS, CHANGES  # noqa: E402

# How many of the attempts make a model that may be built for a trial.
SMALL_ENOUGH = 3
NO_MODELS = re.compile("(configuration|tokenization|.*process(ing|or)|feature_extraction|convert|modular|generation)_")
HEADS = ("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "IMAGE_CLASSIFICATION", "MASKED_LM", "PRETRAINING")


def subjects() -> list[Subject]:
    """One for each model class that the library's own tables name for a config, at most two a config.

    A config that they name none for is a subject, too: its class is found by its annotation.
    """
    found: dict[str, Subject] = {}
    for model_type in configuration_auto.CONFIG_MAPPING_NAMES:
        family = configuration_auto.model_type_to_module_name(model_type)
        for cls in _classes(model_type) or [""]:
            name = f"{model_type}:{cls}" if cls else model_type
            # Some configs go by two names.
            found.setdefault(cls or name, Subject(library="transformers", name=name, family=family))
    return list(found.values())


def _classes(model_type: str) -> list[str]:
    """The base model and the first model with a head, by name."""
    tables = [table for name, table in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")]
    first = [modeling_auto.MODEL_MAPPING_NAMES] + [
        getattr(modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES") for head in HEADS
    ]
    names: dict[str, None] = {}
    for table in (*first, *tables):
        if table is not configuration_auto.CONFIG_MAPPING_NAMES and model_type in table:
            name = table[model_type]
            names.setdefault(name if isinstance(name, str) else name[0])
    return list(names)[:2]


def builder(name: str) -> Builder:
    model_type, _, class_name = name.partition(":")
    cls = _class_named(model_type, class_name) if class_name else _class_of(model_type)
    config = CONFIG_MAPPING[model_type](**ARGUMENTS.get(model_type, {}))
    config = smallest(cls, config, CHANGES.get(model_type, {}))
    # Constructors write to their configs.
    return lambda: cls(copy.deepcopy(config))


def part_for(cls: Any, config: Any) -> Any:
    """The config itself or, for a model of a part, the config of that part."""
    wanted = getattr(cls, "config_class", None)
    if wanted is None or isinstance(config, wanted):
        return config
    return next((part for part in vars(config).values() if isinstance(part, wanted)), config)


def smallest(cls: type[nn.Module], config: Any, changes: Mapping[str, Any]) -> Any:
    """The config that was shrunk most, among those that the model's own code accepts."""
    whole = [shrunk(config, divisor) for divisor in DIVISORS] + [copy.deepcopy(config)]
    candidates = [part_for(cls, changed(each, changes)) for each in whole]
    # Constructors that look at values cannot run on the meta device, where a model costs next to nothing.
    attempts = [("meta", config) for config in candidates] + [("cpu", config) for config in candidates[:SMALL_ENOUGH]]
    for device, candidate in attempts:
        if succeeds(functools.partial(_construct, cls, candidate, device)):
            return candidate
    return candidates[0]


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A config with some attributes replaced, those of inner configs by dotted names."""
    for path, value in changes.items():
        target = config
        *parents, name = path.split(".")
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)
    return config


def succeeds(attempt: Callable[[], object], seconds: int = 30) -> bool:
    """Try a call in a fork of this process, so that nothing that it breaks, caches or leaks stays."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(seconds)
            attempt()
            code = 0
        finally:
            # Whatever was raised: nothing of the original's may be run here, such as its handlers of exits.
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _construct(cls: type[nn.Module], config: Any, device: str) -> None:
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        cls(copy.deepcopy(config))


def _class_named(model_type: str, name: str) -> type[nn.Module]:
    for module in _modules(model_type):
        if isinstance(found := getattr(module, name, None), type):
            return found
    # A few are defined beside another model.
    return getattr(importlib.import_module("transformers"), name)


def _class_of(model_type: str) -> type[nn.Module]:
    """The first model that is made for a config or, if none is, a part of a model that is."""
    config = CONFIG_MAPPING[model_type]
    models, parts = [], []
    for module in _modules(model_type):
        for cls in vars(module).values():
            if not isinstance(cls, type) or not issubclass(cls, nn.Module) or cls.__module__ != module.__name__:
                continue
            if issubclass(cls, PreTrainedModel):
                models += [cls] if cls.config_class is config and not cls.__name__.endswith("PreTrainedModel") else []
            elif _annotation(cls) == config.__name__:
                parts.append(cls)
    # A part is defined after what it consists of.
    found = models[:1] or parts[-1:]
    if not found:
        raise LookupError(f"no class in transformers is made for a {config.__name__}")
    return found[0]


def _annotation(cls: type[nn.Module]) -> str:
    """The class of config that a constructor says it takes, if that is all that it needs."""
    parameters = list(inspect.signature(cls).parameters.values())
    if not parameters or any(parameter.default is parameter.empty for parameter in parameters[1:]):
        return ""
    annotation = parameters[0].annotation
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def _modules(model_type: str) -> Iterator[ModuleType]:
    """The files in the folder of a config that may define models."""
    folder = importlib.import_module(f"transformers.models.{configuration_auto.model_type_to_module_name(model_type)}")
    for found in pkgutil.iter_modules(folder.__path__):
        if not NO_MODELS.match(found.name):
            yield importlib.import_module(f"{folder.__name__}.{found.name}")
