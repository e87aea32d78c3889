"""Assertions on a model's initialization."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..applying import check_module
from ..errors import ConfigTypeError, VerificationError
from ..globs import selected
from ..planning import Fan, Unmatched
from ..sampling import check_seed
from ..tables import listed
from ..verification import Verdict, verify
from ..verification.parameters import Asked
from .duplicates import duplicates
from .rebuilding import Factory, build, causes, changes, differences, tensors_of


def assert_initialized(
    model: nn.Module,
    what: Asked,
    *,
    alpha: float = 1e-3,
    allow_untested: bool | str | Sequence[str] = True,
    unmatched: Unmatched = "auto",
    fan: Fan = "auto",
) -> Verdict:
    """Require that a model's weights are what was asked for, however they were initialized.

    Args:
        model: A model with memory.
        what: The config, plan or report to compare with; None to audit the model (NaN, outliers ...).
        alpha: The probability that a model whose weights are right fails, over all its tests.
        allow_untested: Whether values may be unknown (of parameters that no rule covers, that were loaded ...); or
            globs over the FQNs of such parameters. At least one parameter must be tested, unless `what` is None.
        unmatched: Reaction to rules that select nothing; see `plan`.
        fan: Fan convention of rules without one; see `plan`.

    Returns:
        The verdict, all of whose tests passed.

    Raises:
        VerificationError: an `AssertionError` that names the parameters, what was found, what was asked for and by
            which rule; `.verdict` is the verdict.
        MatchError: a glob of `allow_untested` fits no parameter.
        AutoInitError: `verify` raises it.

    Example:
        >>> from autoinit import initialize
        >>> cfg = dict(type="Normal", layer="Linear", std=0.02)
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
        >>> _ = initialize(model, cfg, seed=0)
        >>> assert_initialized(model, cfg)
        Verdict(Sequential: ok; 2 tested, 2 audited only; alpha = 0.001)
        >>> assert_initialized(model, cfg, allow_untested=False)
        Traceback (most recent call last):
          ...
        autoinit.errors.VerificationError: 2 parameters of Sequential not tested, of 4:
          1.weight: no rule
          1.bias: no rule
        Add rules for them, or allow it: allow_untested=[...].
    """
    __tracebackhide__ = True
    verdict = verify(model, what, alpha=alpha, unmatched=unmatched, fan=fan)
    allowed = selected("allow_untested", allow_untested, verdict.parameters.keys(), verdict.model)
    verdict.raise_for_failures()
    if what is not None and len(verdict.untested) == len(verdict.parameters):
        allowed = set()
    untested = {fqn: reason for fqn, reason in verdict.untested.items() if fqn not in allowed}
    if untested:
        raise VerificationError(
            f"{_count(len(untested))} of {verdict.model} not tested, of {len(verdict.parameters)}:\n"
            f"{listed(f'{fqn}: {reason}' for fqn, reason in untested.items())}\n"
            "Add rules for them, or allow it: allow_untested=[...].",
            fqn=next(iter(untested)),
            verdict=verdict,
        )
    return verdict


def assert_same_init(factory: Factory, seed: int = 0) -> None:
    """Require that `torch.manual_seed` decides every parameter and buffer of a model, bit for bit.

    The factory is called twice under the seed: the second time with another number of threads, and with Python's
    `random` and, if it is loaded, NumPy in another state. If the models differ it is called again, to find out why.
    Afterwards all RNG states and the number of threads are as before.

    Args:
        factory: Builds a new model at each call.
        seed: Any integer.

    Raises:
        VerificationError: an `AssertionError` that names the first that differ, by how much, and what decides them.
        StateError: the factory returned one model twice, or one on the meta device.

    Example:
        >>> import random
        >>> assert_same_init(lambda: nn.Linear(8, 8))
        >>> def build():
        ...     layer = nn.Linear(8, 8)
        ...     nn.init.constant_(layer.bias, random.random())
        ...     return layer
        >>> assert_same_init(build, seed=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
          ...
        autoinit.errors.VerificationError: Two builds of Linear under torch.manual_seed(1) differ in 1 of 2 parameters \
and buffers:
          bias (Linear): 8 of 8 values differ, by ... at most
        Python's `random`, which torch.manual_seed does not seed, decides bias.
    """
    __tracebackhide__ = True
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ConfigTypeError(
            f"assert_same_init(): {type(factory).__name__} is not what builds a model. Give a function, such as "
            "`lambda: Net()`."
        )
    number = check_seed(seed)
    if number is None:
        raise ConfigTypeError("assert_same_init(): seed=None is no seed. Give an integer.")
    number %= 2**64
    first = build(factory, number)
    found = differences(first, build(factory, number, first, changes().values()))
    if found:
        why = list(causes(factory, number, first)) or ["Which of the conditions decides it is not the same each time."]
        raise VerificationError(
            f"Two builds of {type(first).__name__} under torch.manual_seed({seed}) differ in {len(found)} of "
            f"{len(tensors_of(first))} parameters and buffers:\n{listed(found.values())}\n" + "\n".join(why),
            fqn=next(iter(found)),
        )


def assert_no_duplicates(model: nn.Module, *, ignore: str | Sequence[str] = ()) -> None:
    """Require that no random values of a model occur twice: in two parameters, or in two slices of one.

    This finds layers that are deep copies of an initialized one, shards that every rank drew with the same seed,
    cloned experts, and layers that were each built under the same seed. Tied parameters, constants and tables that
    follow a formula are not duplicates.

    Args:
        model: A model with memory.
        ignore: Globs over the FQNs of parameters to leave out.

    Raises:
        VerificationError: an `AssertionError` that names what is a copy of what.
        MatchError: a glob fits no parameter.

    Example:
        >>> import copy
        >>> layer = nn.Linear(8, 8)
        >>> assert_no_duplicates(nn.Sequential(layer, layer))
        >>> assert_no_duplicates(nn.Sequential(layer, copy.deepcopy(layer)))
        Traceback (most recent call last):
          ...
        autoinit.errors.VerificationError: Random values of Sequential occur twice, in 2 parameters:
          1.weight (Linear): is a copy of 0.weight
          1.bias (Linear): is a copy of 0.bias
        Draw them anew, share one parameter if it is to be the same, or leave them out: ignore=[...].
    """
    __tracebackhide__ = True
    check_module(model, "assert_no_duplicates")
    found = list(duplicates(model, ignore))
    if found:
        raise VerificationError(
            f"Random values of {type(model).__name__} occur twice, in {_count(len({fqn for fqn, _ in found}))}:\n"
            f"{listed(text for _, text in found)}\n"
            "Draw them anew, share one parameter if it is to be the same, or leave them out: ignore=[...].",
            fqn=found[0][0],
        )


def _count(number: int) -> str:
    return f"{number} parameter{'s' if number > 1 else ''}"
