"""Fingerprints of constructions, which are compared; small enough to keep for a model of any size."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from .findings import Difference

SEED = 2013


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """A model that was just built, and what its construction did to the process.

    Args:
        tensors: digests of the values of parameters and buffers by their first names, in the model's order.
        layouts: all else that can be compared of each: dtype, shape, strides, device, whether it wants a gradient.
        ties: names of one and the same tensor, by the first of them.
        attributes: of each module its class and attributes; of those with a length, such as tables of hooks, that too.
        states: of all generators.
        switches: torch's, and its global hooks and modes, which last where a construction leaves them changed.
    """

    tensors: Mapping[str, str]
    layouts: Mapping[str, str]
    ties: Mapping[str, str]
    attributes: Mapping[str, str]
    states: Mapping[str, str]
    switches: Mapping[str, str]

    def differences(self, other: Fingerprint, but_for: Collection[str] = ()) -> Iterator[Difference]:
        """The differences to another one, except in the values of some tensors that are meant to differ."""
        if list(self.layouts) != list(other.layouts) and self.layouts.keys() == other.layouts.keys():
            yield Difference("order", "of the tensors", "is another")
        for kind in ("tensors", "layouts", "ties", "attributes", "states", "switches"):
            before, after = getattr(self, kind), getattr(other, kind)
            for name in {**before, **after}:
                if before.get(name) != after.get(name) and not (kind == "tensors" and name in but_for):
                    yield Difference(kind, name, f"{before.get(name)} became {after.get(name)}")


def fingerprint(
    model: nn.Module, states: Mapping[str, str], switches: Mapping[str, str], but_for: Collection[str] = ()
) -> Fingerprint:
    """Of a model, with states and switches right after its construction; without the values of some tensors."""
    names = names_of_tensors(model)
    return Fingerprint(
        tensors={fqns[0]: digest(tensor) for tensor, fqns in names if fqns[0] not in but_for},
        layouts={fqns[0]: layout(tensor) for tensor, fqns in names},
        ties={fqns[0]: ", ".join(fqns[1:]) for _, fqns in names if len(fqns) > 1},
        attributes={name or "the root": attributes(module) for name, module in model.named_modules()},
        states=states,
        switches=switches,
    )


def names_of_tensors(model: nn.Module) -> list[tuple[Tensor, list[str]]]:
    found: dict[int, tuple[Tensor, list[str]]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                fqns = found.setdefault(id(tensor), (tensor, []))[1]
                fqns.append(f"{prefix}.{name}" if prefix else name)
    return list(found.values())


def digest(tensor: Tensor) -> str:
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        return ""
    bits = tensor.detach().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(bits.numpy().data).hexdigest()


def layout(tensor: Tensor) -> str:
    if torch.nn.parameter.is_lazy(tensor):
        return f"lazy {type(tensor).__name__}"
    kind = type(tensor).__name__
    return f"{kind} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.requires_grad} {tensor.device}"


def attributes(module: nn.Module) -> str:
    lengths = {key: len(value) if isinstance(value, dict) else "" for key, value in vars(module).items()}
    return f"{type(module).__qualname__} {lengths}"


def seed_everything(seed: int = SEED) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def states_of_generators() -> dict[str, str]:
    """Digests, because a state is of kilobytes."""
    generators = {
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "python's generator": pickle.dumps(random.getstate()),
        "numpy's generator": pickle.dumps(np.random.get_state()),
    }
    return {name: hashlib.sha256(state).hexdigest() for name, state in generators.items()}


def switches() -> dict[str, str]:
    """Global settings, hooks and modes of torch that a construction may leave changed."""
    defaults = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled())
    hooks = {name: len(table) for name, table in vars(torch_module).items() if _is_table_of_hooks(name, table)}
    modes = torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()
    return {"torch's defaults": str(defaults), "torch's modes": str(modes), "global hooks": str(hooks)}


def _is_table_of_hooks(name: str, value: object) -> bool:
    return name.startswith("_global_") and isinstance(value, dict)


Classes = Mapping[Any, Mapping[str, object]]


def classes_of(model: nn.Module) -> Classes:
    """The attributes of all classes of a model and their ancestors, and of the functions that fill tensors."""
    classes = {cls for module in model.modules() for cls in type(module).__mro__ if cls is not object}
    return contents((*classes, nn.Parameter, Tensor, torch._C.TensorBase, nn.init))


def contents(classes: Iterable[Any]) -> Classes:
    return {cls: dict(vars(cls)) for cls in classes}


def changed_classes(before: Classes) -> Iterator[Difference]:
    """The attributes of classes that are other objects now than they were."""
    for cls, old in before.items():
        new = vars(cls)
        for name in old.keys() | new.keys():
            if old.get(name) is not new.get(name):
                where = cls.__qualname__ if isinstance(cls, type) else cls.__name__
                yield Difference("classes", f"{where}.{name}", f"{old.get(name)} became {new.get(name)}")


def leftovers(model: nn.Module) -> Iterator[Difference]:
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            for part in (value, *(value.values() if isinstance(value, dict) else ())):
                if type(part).__module__.partition(".")[0] == "autoinit":
                    yield Difference("leftovers", f"{name or 'the root'}.{key}", repr(part))
