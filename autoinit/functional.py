"""One module at a time: its own `weight` and `bias`, not those of modules inside it.

The names, arguments and defaults are those of `mmengine.model`. As there, all of a weight is filled: the row that an
embedding has for padding (`padding_idx`) too.
"""

from __future__ import annotations

from torch import nn

from .applying import apply_plan, make_plan, targets_of
from .errors import ConfigTypeError
from .initializers import Caffe2Xavier, Constant, Initializer, Kaiming, Normal, TruncNormal, Uniform, Xavier
from .planning import PlanContext, Planner
from .rules import Rule

CONTEXT = PlanContext(rules_only=True, shallow=True)


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Fill the weight with `val` and the bias with `bias`.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> constant_init(layer, 3, bias=4)
        >>> layer.weight.item(), layer.bias.item()
        (3.0, 4.0)
    """
    fill_module(module, Constant(val=val), bias, "constant_init")


def xavier_init(module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal") -> None:
    """Xavier for the weight, a constant for the bias; see `autoinit.initializers.Xavier`.

    Example:
        >>> xavier_init(nn.Linear(4, 4), distribution="uniform")
    """
    fill_module(module, Xavier(gain=gain, distribution=distribution), bias, "xavier_init")


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Normal for the weight, a constant for the bias; see `autoinit.initializers.Normal`.

    Example:
        >>> normal_init(nn.Linear(4, 4), std=0.01)
    """
    fill_module(module, Normal(mean=mean, std=std), bias, "normal_init")


def trunc_normal_init(
    module: nn.Module, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, bias: float = 0
) -> None:
    """Truncated normal for the weight, a constant for the bias; see `autoinit.initializers.TruncNormal`.

    Example:
        >>> trunc_normal_init(nn.Linear(4, 4), std=0.02, a=-0.04, b=0.04)
    """
    fill_module(module, TruncNormal(mean=mean, std=std, a=a, b=b), bias, "trunc_normal_init")


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Uniform for the weight, a constant for the bias; see `autoinit.initializers.Uniform`.

    Example:
        >>> uniform_init(nn.Linear(4, 4), a=-0.1, b=0.1)
    """
    fill_module(module, Uniform(a=a, b=b), bias, "uniform_init")


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """Kaiming for the weight, a constant for the bias; see `autoinit.initializers.Kaiming`.

    Example:
        >>> kaiming_init(nn.Conv2d(3, 8, 3), mode="fan_in")
    """
    scheme = Kaiming(a=a, mode=mode, nonlinearity=nonlinearity, distribution=distribution)
    fill_module(module, scheme, bias, "kaiming_init")


def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """Caffe2's `XavierFill` for the weight, a constant for the bias; see `autoinit.initializers.Caffe2Xavier`.

    Example:
        >>> caffe2_xavier_init(nn.Linear(4, 4))
    """
    fill_module(module, Caffe2Xavier(), bias, "caffe2_xavier_init")


def fill_module(module: nn.Module, scheme: Initializer, bias: float | None, origin: str) -> None:
    """Give a module's own weight a scheme and its bias a constant; one that it does not have is passed over.

    Raises:
        ShapeError: the scheme is not defined for the weight's shape; nothing is changed.
    """
    if not isinstance(module, nn.Module):
        raise ConfigTypeError(f"{origin}(): {module!r} must be a torch.nn.Module, not {type(module).__name__}.")
    rule = Rule(initializer=scheme, bias=bias, layer=(type(module),), padding="fill", origin=origin)
    planner = Planner(module, [(rule,)], CONTEXT)
    plan = make_plan(planner)
    apply_plan(plan, module, targets=targets_of(planner, plan), is_model=False)
