"""`propagate`: send a batch through a model and back, and measure the signal."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..applying import check_module
from ..errors import ConfigTypeError, InputError, StateError
from ..layers import is_lazy
from ..planning import joined, unwrapped, walk
from ..sampling import check_seed
from .forward_hooks import Watch
from .measures import carries_signal, moments, shapes_in, tensors_in
from .results import Propagation
from .signals import Bounds, flags_of
from .state import seeded, unchanged, uncompiled

DEFAULT = Bounds()


def propagate(
    model: nn.Module, inputs: object = None, *, backward: bool = True, seed: int = 0, bounds: Bounds = DEFAULT
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
    # Wrappers are for several processes or for compiled code, neither of which is measured.
    root = unwrapped(model)
    params = _parameters(root)
    if inputs is None:
        raise InputError(_missing_inputs(root))
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, Mapping) else (inputs,)
    trained = {fqn: param for fqn, param in params.items() if param.requires_grad} if backward else {}
    watch = Watch(root)
    with torch.inference_mode(False), uncompiled(), watch.outputs, unchanged(root), seeded(number, root):
        with torch.set_grad_enabled(backward), watch.forward():
            outputs = root(*args, **kwargs)
        norms = _gradient_norms(outputs, trained, number)
    if not watch.observed:
        raise InputError(f"{type(root).__name__}: forward called no module that could be watched.")
    signals = watch.signals(norms)
    shapes = [shapes_in(args), *(f"{name}: {shapes_in(value)}" for name, value in kwargs.items() if shapes_in(value))]
    return Propagation(
        model=type(root).__name__,
        inputs=f"{', '.join(filter(None, shapes)) or 'no tensors'} (given)",
        bounds=bounds,
        signals=signals,
        gradients=norms,
        unreached=tuple(fqn for fqn, norm in norms.items() if norm is None),
        uncalled=tuple(fqn for fqn in watch.modules if fqn not in watch.observed),
        flags=tuple(flags_of(signals, norms, bounds)),
    )


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Each parameter once, by its first FQN; StateError if one is lazy or on the meta device."""
    found: dict[nn.Parameter, str] = {}
    for fqn, module, _ in walk(model):
        for name, param in module._parameters.items():
            if param is not None:
                found.setdefault(param, joined(fqn, name))
    for param, fqn in found.items():
        if is_lazy(param):
            text = f"{fqn} is lazy and has no shape yet. Call the model once before calling propagate()."
            raise StateError(text, fqn=fqn)
        if param.is_meta:
            text = f"{fqn} is on the meta device and has no values. Propagate a model with memory, for example after "
            raise StateError(f"{text}to_empty(device=...) and initialize.", fqn=fqn)
    return {fqn: param for param, fqn in found.items()}


def _missing_inputs(model: nn.Module) -> str:
    """The text of an error that shows how to pass the arguments of forward."""
    signature = inspect.signature(model.forward)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [each for each in signature.parameters.values() if each.kind not in variadic]
    wanted = [each.name for each in named if each.default is each.empty] or [each.name for each in named[:1]]
    example = f"dict({', '.join(f'{name}=...' for name in wanted)})" if wanted else "(..., ...)"
    return (
        f"{type(model).__name__}.forward{signature}: propagate needs inputs. Pass them: a tensor, a tuple of "
        f"arguments, or a dict by name, as in propagate(model, {example})."
    )


def _gradient_norms(outputs: Any, trained: Mapping[str, Tensor], seed: int) -> dict[str, float | None]:
    """The norm of each parameter's gradient, of the sum of all outputs with random signs; None without a gradient."""
    found: dict[str, float | None] = dict.fromkeys(trained)
    ends = [tensor for tensor in tensors_in(outputs) if carries_signal(tensor) and tensor.requires_grad]
    ends = [tensor for tensor in ends if tensor.ndim] or ends
    # Forward itself may have frozen some.
    asked = {fqn: param for fqn, param in trained.items() if param.requires_grad}
    if asked and ends:
        # Drawn on the CPU, to be the same for every device.
        draw = partial(torch.randint, 2, dtype=torch.int8, generator=torch.Generator().manual_seed(seed), device="cpu")
        signs = [(draw(tensor.shape) * 2 - 1).to(tensor.device, tensor.dtype) for tensor in ends]
        # Unlike `backward()` it runs no hook that accumulates, reduces or steps, and leaves `.grad` alone.
        gradients = torch.autograd.grad(ends, list(asked.values()), signs, allow_unused=True)
        for fqn, gradient in zip(asked, gradients, strict=True):
            found[fqn] = None if gradient is None else moments(gradient).norm
    return found
