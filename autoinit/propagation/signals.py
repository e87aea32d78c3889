"""What was measured of one module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What was measured of one module, over all its calls. Of a tuple, dict or dataclass, the first tensor counts.

    Args:
        layer: class of the module.
        calls: how often forward called it.
        mean: of the finite values of the output; None if there are none.
        std: of the same.
        input_std: std of the input; None if that holds no real numbers.
        dead: the share of units (channels, features) whose output is one value over the whole batch, be it 0 or
            another; None where nothing can be said: of an input that is all one value, or of units seen once.
        nonfinite: the share of values that are NaN or infinite.
        finite_input: whether the input was free of them.
        gradient: root mean square of the gradient at the output; None without one.
        gradient_norm: Euclidean norm of the gradient of the module's own parameters; None without one.
    """

    layer: str
    calls: int
    mean: float | None
    std: float | None
    input_std: float | None
    dead: float | None
    nonfinite: float
    finite_input: bool
    gradient: float | None
    gradient_norm: float | None

    @property
    def gain(self) -> float | None:
        """Std of the output over std of the input.

        Example:
            >>> import torch
            >>> from autoinit import propagate
            >>> layer = torch.nn.Linear(4, 4, bias=False)
            >>> _ = torch.nn.init.orthogonal_(layer.weight, gain=3)
            >>> inputs = torch.cat([torch.eye(4), -torch.eye(4)])
            >>> round(propagate(layer, inputs)[""].gain, 4)
            3.0
        """
        return self.std / self.input_std if self.std is not None and self.input_std else None
