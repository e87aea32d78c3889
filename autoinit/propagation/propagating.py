"""A batch sent through a model and back, and what that shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..applying import check_module
from ..errors import ConfigError, InputError, StateError
from ..layers import is_lazy
from ..planning import joined, unwrapped, walk
from ..sampling import check_seed
from .bounds import DEFAULT, Bounds, check_bounds
from .flagging import flags_of
from .inputs import Call, given, guessed
from .measures import Moments, moments
from .portrait import Propagation
from .signals import Signal
from .state import seeded, unchanged, uncompiled
from .tensors import carries_signal, tensors_in
from .watching import Observed, Watch


def propagate(
    model: nn.Module,
    inputs: object = None,
    *,
    batch: int = 8,
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
        inputs: a tensor, a tuple of arguments, or a mapping of named ones; None to guess them: of a transformers model
            by its config, of another by its first layer.
        batch: of guessed inputs.
        backward: whether to measure gradients.
        seed: of guessed inputs, of the signs, and of what forward draws, as in dropout.
        bounds: what is flagged.

    Raises:
        InputError: the inputs cannot be guessed.
        StateError: the model has parameters without memory or shape.
        ConfigError: a batch or a seed that is none.

    Example:
        >>> import autoinit
        >>> net = nn.Sequential(*(nn.Linear(64, 64) for _ in range(12)))
        >>> _ = autoinit.initialize(net, dict(type="Normal", layer="Linear", std=0.01), seed=0)
        >>> signal = propagate(net)
        >>> signal.ok
        False
        >>> print(signal.flags[0])
        7 (Linear): std 1.41e-09 (its input has 1.91e-08), less than 1e-08 (vanishing).
    """
    check_module(model, "propagate")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"batch={batch!r} must be a positive integer.", origin="batch")
    number, held_to = check_seed(seed) or 0, check_bounds(bounds)
    # A wrapper is for many processes, or for compiled code: neither is what is measured.
    root = unwrapped(model)
    _check_ready(root)
    with torch.inference_mode(False), uncompiled():
        call = guessed(root, batch, number) if inputs is None else given(inputs)
        watch, gradients = _run(root, call, number, backward)
    return _portrait(root, call, watch, gradients, held_to)


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


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Each parameter once, by its first FQN, without the names of wrappers."""
    found: dict[nn.Parameter, str] = {}
    for fqn, module, _ in walk(model):
        for name, param in module._parameters.items():
            if param is not None:
                found.setdefault(param, joined(fqn, name))
    return {fqn: param for param, fqn in found.items()}


def _run(model: nn.Module, call: Call, seed: int, backward: bool) -> tuple[Watch, dict[str, Moments | None]]:
    watch = Watch(model)
    trained = {fqn: param for fqn, param in _parameters(model).items() if param.requires_grad} if backward else {}
    try:
        with unchanged(model), seeded(seed, model), torch.set_grad_enabled(backward):
            with watch.forward():
                outputs = call(model)
            return watch, _gradients(outputs, trained, seed)
    finally:
        watch.close()


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


def _portrait(
    model: nn.Module, call: Call, watch: Watch, gradients: Mapping[str, Moments | None], bounds: Bounds
) -> Propagation:
    if not watch.observed:
        raise InputError(f"{type(model).__name__}: forward called no module that could be watched.")
    signals = {fqn: _signal(seen, fqn, gradients) for fqn, seen in watch.observed.items()}
    norms = {fqn: None if each is None else each.norm for fqn, each in gradients.items()}
    unreached = tuple(fqn for fqn, norm in norms.items() if norm is None)
    return Propagation(
        model=type(model).__name__,
        inputs=str(call),
        bounds=bounds,
        signals=signals,
        gradients=norms,
        unreached=unreached,
        uncalled=watch.uncalled,
        flags=tuple(flags_of(signals, norms, unreached, bounds)),
    )


def _signal(seen: Observed, fqn: str, gradients: Mapping[str, Moments | None]) -> Signal:
    own = [each.norm for name, each in gradients.items() if each is not None and name.rpartition(".")[0] == fqn]
    values = seen.output.count + seen.output.nonfinite
    return Signal(
        layer=seen.layer,
        calls=seen.calls,
        mean=seen.output.mean if seen.output.count else None,
        std=seen.output.std if seen.output.count else None,
        input_std=seen.input.std if seen.input.count else None,
        dead=seen.dead / seen.units if seen.units else None,
        nonfinite=seen.output.nonfinite / values if values else 0.0,
        finite_input=not seen.input.nonfinite,
        gradient=seen.gradient.rms if seen.gradient.count else None,
        gradient_norm=math.hypot(*own) if own else None,
    )
