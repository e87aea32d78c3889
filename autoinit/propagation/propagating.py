"""A batch sent through a model and back, and what that shows."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from ..applying import check_module
from ..errors import ConfigTypeError, InputError, StateError
from ..layers import is_lazy
from ..planning import joined, unwrapped, walk
from ..sampling import check_seed
from .bounds import DEFAULT, Bounds
from .flags import flags_of
from .moments import Moments, moments
from .results import Propagation
from .state import seeded, unchanged, uncompiled
from .tensors import carries_signal, shapes_in, tensors_in
from .watching import Watch

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def propagate(
    model: nn.Module,
    inputs: object = None,
    *,
    backward: bool = True,
    seed: int = 0,
    bounds: Bounds = DEFAULT,
) -> Propagation:
    """Send a batch through a model and back, and measure the signal at every module.

    Forward: mean and std of each module's output, the gain over its input, and the share of units that are dead.
    Backward: the gradient, at each module's output and of each parameter, of the sum of all outputs, each value with a
    random sign of its own, fixed by the seed. So it is 1 in size at the output, whatever the model computes. Scalar
    outputs, such as a loss, count only where there is nothing else.

    The model runs in the mode that it is in; a new one is in training mode. Afterwards modes, parameters, gradients,
    buffers and the states of random generators are what they were, and no hook is left. Of activations, only numbers
    are kept; while it runs it takes the memory of a training step without the optimizer, or, without `backward`, of
    inference.

    Args:
        model: any model with memory and without lazy parameters.
        inputs: a tensor, a tuple of arguments, or a mapping of named ones.
        backward: whether to measure gradients.
        seed: of the signs, and of what forward draws, as in dropout.
        bounds: what is flagged.

    Raises:
        InputError: there are no inputs, or forward calls no module that can be watched.
        StateError: the model has parameters without memory or shape.
        ConfigError: not a seed, or not bounds.

    Example:
        >>> import autoinit
        >>> net = nn.Sequential(*(nn.Linear(64, 64) for _ in range(12)))
        >>> _ = autoinit.initialize(net, dict(type="Normal", layer="Linear", std=0.01), seed=0)
        >>> signal = propagate(net, torch.randn(8, 64, generator=torch.Generator().manual_seed(0)))
        >>> signal.ok
        False
        >>> print(signal.flags[0])
        7 (Linear): std 1.41e-09 (its input has 1.91e-08), less than 1e-08 (vanishing).
    """
    check_module(model, "propagate")
    if not isinstance(bounds, Bounds):
        names = ", ".join(field.name for field in fields(Bounds))
        raise ConfigTypeError(f"bounds={bounds!r} must be a Bounds(...), of: {names}.", origin="bounds")
    number = check_seed(seed) or 0
    # A wrapper is for many processes, or for compiled code: neither is what is measured.
    root = unwrapped(model)
    _check_ready(root)
    if inputs is None:
        raise InputError(_missing_inputs(root))
    with torch.inference_mode(False), uncompiled():
        watch, gradients = _run(root, inputs, number, backward)
    return _result(root, inputs, watch, gradients, bounds)


def _check_ready(model: nn.Module) -> None:
    for fqn, tensor in _parameters(model).items():
        if is_lazy(tensor):
            raise StateError(f"{fqn} is lazy and has no shape yet. Call the model once before propagate.", fqn=fqn)
        if tensor.is_meta:
            raise StateError(
                f"{fqn} is on the meta device and has no values. Propagate a model with memory, for example after "
                "to_empty(device=...) and initialize.",
                fqn=fqn,
            )


def _missing_inputs(model: nn.Module) -> str:
    """The text of an error that shows how to pass what forward takes."""
    signature = inspect.signature(model.forward)
    named = [each for each in signature.parameters.values() if each.kind not in VARIADIC]
    wanted = [each.name for each in named if each.default is each.empty] or [each.name for each in named[:1]]
    example = f"dict({', '.join(f'{name}=...' for name in wanted)})" if wanted else "(..., ...)"
    return (
        f"{type(model).__name__}.forward{signature}: propagate needs inputs. Pass them: a tensor, a tuple of "
        f"arguments, or a dict by name, as in propagate(model, {example})."
    )


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Each parameter once, by its first FQN, without the names of wrappers."""
    found: dict[nn.Parameter, str] = {}
    for fqn, module, _ in walk(model):
        for name, param in module._parameters.items():
            if param is not None:
                found.setdefault(param, joined(fqn, name))
    return {fqn: param for param, fqn in found.items()}


def _run(model: nn.Module, inputs: object, seed: int, backward: bool) -> tuple[Watch, dict[str, Moments | None]]:
    args, kwargs = _arguments(inputs)
    watch = Watch(model)
    trained = {fqn: param for fqn, param in _parameters(model).items() if param.requires_grad} if backward else {}
    try:
        with unchanged(model), seeded(seed, model), torch.set_grad_enabled(backward):
            with watch.forward():
                outputs = model(*args, **kwargs)
            return watch, _gradients(outputs, trained, seed)
    finally:
        watch.close()


def _arguments(inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What forward is called with: a tuple is all arguments, a mapping named ones, anything else the only one."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return inputs if isinstance(inputs, tuple) else (inputs,), {}


def _gradients(outputs: Any, trained: Mapping[str, Tensor], seed: int) -> dict[str, Moments | None]:
    ends = [tensor for tensor in tensors_in(outputs) if carries_signal(tensor) and tensor.requires_grad]
    ends = [tensor for tensor in ends if tensor.ndim] or ends
    # Forward itself may have frozen some.
    asked = {fqn: param for fqn, param in trained.items() if param.requires_grad}
    if not asked or not ends:
        return dict.fromkeys(trained)
    generator = torch.Generator().manual_seed(seed)
    signs = [_signs(tensor, generator) for tensor in ends]
    # Unlike `backward()` it runs no hook that accumulates, reduces or steps, and leaves `.grad` alone.
    found = torch.autograd.grad(ends, list(asked.values()), signs, allow_unused=True)
    measured = {fqn: None if each is None else moments(each) for fqn, each in zip(asked, found, strict=True)}
    return {**dict.fromkeys(trained), **measured}


def _signs(tensor: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU, to be the same for every device.
    signs = torch.randint(2, tensor.shape, dtype=torch.int8, generator=generator, device="cpu") * 2 - 1
    return signs.to(tensor.device, tensor.dtype)


def _result(
    model: nn.Module, inputs: object, watch: Watch, gradients: Mapping[str, Moments | None], bounds: Bounds
) -> Propagation:
    if not watch.observed:
        raise InputError(f"{type(model).__name__}: forward called no module that could be watched.")
    norms = {fqn: None if each is None else each.norm for fqn, each in gradients.items()}
    by_module: dict[str, list[float]] = {}
    for fqn, norm in norms.items():
        if norm is not None:
            by_module.setdefault(fqn.rpartition(".")[0], []).append(norm)
    of_modules = {fqn: math.hypot(*own) for fqn, own in by_module.items()}
    signals = {fqn: seen.signal(of_modules.get(fqn)) for fqn, seen in watch.observed.items()}
    return Propagation(
        model=type(model).__name__,
        inputs=_in_words(inputs),
        bounds=bounds,
        signals=signals,
        gradients=norms,
        unreached=tuple(fqn for fqn, norm in norms.items() if norm is None),
        uncalled=watch.uncalled,
        flags=tuple(flags_of(signals, norms, bounds)),
    )


def _in_words(inputs: object) -> str:
    args, kwargs = _arguments(inputs)
    named = [f"{name}: {shapes_in(value)}" for name, value in kwargs.items() if shapes_in(value)]
    return f"{', '.join(filter(None, (shapes_in(args), *named))) or 'no tensors'} (given)"
