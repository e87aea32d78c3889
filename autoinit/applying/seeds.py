"""The seed, the root and the prefix that determine the random values of one application."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from ..errors import ConfigError, ConfigTypeError
from ..planning import joined
from ..sampling import VERSION, Key, Sampler, derive_key, fresh_seed
from .agreement import agreed_seed
from .targets import Targets


@dataclass(eq=False, kw_only=True)
class Values:
    """Where the random values of one application come from.

    Args:
        requested: the seed that the user gave.
        root: index of the model among the roots of its block.
        prefix: FQN, in that root, of the module that is being initialized.
        whole: the values of the model of which this is a part.
        version: the definition of random values.
    """

    requested: int | None
    root: int = 0
    prefix: str = ""
    whole: Values | None = field(default=None, repr=False)
    version: int = VERSION
    targets: Targets | None = field(default=None, repr=False)
    samplers: dict[tuple[torch.device, bool], Sampler] = field(default_factory=dict, repr=False)
    used: bool = False

    @cached_property
    def seed(self) -> int:
        """Drawn when the first random value is wanted, and only then (S2)."""
        if self.whole is not None:
            self.whole.used = True
            return self.whole.seed
        if self.requested is not None:
            return self.requested
        return agreed_seed(fresh_seed(), self.targets.params.values() if self.targets is not None else ())

    def key(self, fqn: str, stream: int) -> Key:
        """The key of a stream of a parameter."""
        self.used = True
        return derive_key(self.seed, self.root, self.name(fqn), stream)

    def name(self, fqn: str) -> str:
        """FQN in the root of a parameter of the module that is being initialized."""
        return joined(self.prefix, fqn)

    def fixed(self) -> Values:
        """The same for later: of its seed only what has been drawn, and nothing of the model."""
        seed = self.seed if self.used else self.requested
        return Values(requested=seed, root=self.root, prefix=self.prefix, version=self.version)

    def sampler(self, device: torch.device) -> Sampler:
        """One sampler a device, so that its buffers serve all parameters."""
        # Buffers that were made in inference mode cannot be written outside of it.
        key = (device, torch.is_inference_mode_enabled())
        found = self.samplers.get(key)
        if found is None:
            found = self.samplers[key] = Sampler(device, version=self.version)
        return found


# A module's own init_weights may call back into autoinit for a part of the model: its values then have to be those
# of that part under its name in the whole, or all parts of one kind would get the same.
running: ContextVar[Values | None] = ContextVar("autoinit_running", default=None)

being_initialized: ContextVar[frozenset[int]] = ContextVar("autoinit_being_initialized", default=frozenset())
"""Ids of the modules whose own `init_weights` is being run: if it asks autoinit for its rules, it is not run again."""


def values_for(module: nn.Module, requested: int | None, root: int, prefix: str = "", version: int = VERSION) -> Values:
    """The values for a model, or for a part of one that is being initialized right now."""
    outer = running.get()
    if outer is None or outer.targets is None or id(module) not in outer.targets.fqns or requested is not None:
        return Values(requested=requested, root=root, prefix=prefix, version=version)
    part = joined(outer.targets.fqns[id(module)], prefix)
    return Values(
        requested=None, root=outer.root, prefix=joined(outer.prefix, part), whole=outer, version=outer.version
    )


def check_prefix(prefix: object) -> None:
    """Require the name of a module, or an empty string.

    Raises:
        ConfigTypeError: not a string.
        ConfigError: an empty component, such as the dot at the end that prefixes of `state_dict` have.

    Example:
        >>> check_prefix("critics.0")
        >>> check_prefix("critics.")
        Traceback (most recent call last):
            ...
        autoinit.errors.ConfigError: prefix='critics.' is not a module name: a component is empty. Did you mean \
'critics'?
    """
    if not isinstance(prefix, str):
        raise ConfigTypeError(
            f"prefix={prefix!r} must be the name of a module, such as 'head', not {type(prefix).__name__}.",
            origin="prefix",
        )
    components = prefix.split(".")
    if prefix and not all(components):
        hint = f" Did you mean {'.'.join(filter(None, components))!r}?" if any(components) else ""
        raise ConfigError(f"prefix={prefix!r} is not a module name: a component is empty.{hint}", origin="prefix")
