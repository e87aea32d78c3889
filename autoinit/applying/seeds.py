"""The seed, root and prefix that determine the random values of one application."""

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
    """Source of the random values of one application: those of parameter `fqn` of the module `prefix` of a root.

    `whole` has the values of the larger model of which this one is a part; `used` says whether any value is random.
    """

    targets: Targets
    requested: int | None
    root: int = 0
    prefix: str = ""
    version: int = VERSION
    whole: Values | None = None
    samplers: dict[tuple[torch.device, bool], Sampler] = field(default_factory=dict)
    used: bool = False

    @cached_property
    def seed(self) -> int:
        """The seed: drawn when the first random value is needed, and only then (S2)."""
        if self.whole is not None:
            self.whole.used = True
            return self.whole.seed
        return agreed_seed(fresh_seed(), self.targets.params.values()) if self.requested is None else self.requested

    def key(self, fqn: str, stream: int) -> Key:
        """The key of a stream of a parameter."""
        self.used = True
        return derive_key(self.seed, self.root, joined(self.prefix, fqn), stream)

    def sampler(self, device: torch.device) -> Sampler:
        """The sampler of a device: one, so that its buffers serve all parameters."""
        # Buffers that were made in inference mode cannot be written outside of it.
        key = (device, torch.is_inference_mode_enabled())
        if key not in self.samplers:
            self.samplers[key] = Sampler(device, version=self.version)
        return self.samplers[key]


running: ContextVar[Values | None] = ContextVar("autoinit_running", default=None)
"""Values of the application that is running here: a module's own `init_weights` may call autoinit for a part."""


def values_for(module: nn.Module, targets: Targets, seed: int | None, root: int, prefix: str, version: int) -> Values:
    """The values for a model; for a part of the model that is being initialized, those that it has in the whole."""
    whole = running.get()
    if whole is None or seed is not None or id(module) not in whole.targets.fqns:
        return Values(targets=targets, requested=seed, root=root, prefix=prefix, version=version)
    prefix = joined(joined(whole.prefix, whole.targets.fqns[id(module)]), prefix)
    return Values(targets=targets, requested=None, root=whole.root, prefix=prefix, version=whole.version, whole=whole)


def check_prefix(prefix: object) -> None:
    """Require the name of a module, or an empty string: no prefix of `state_dict`, with its trailing dot."""
    if not isinstance(prefix, str):
        raise ConfigTypeError(
            f"prefix={prefix!r} must be the name of a module, such as 'head', not {type(prefix).__name__}.",
            origin="prefix",
        )
    components = prefix.split(".")
    if prefix and not all(components):
        hint = f" Did you mean {'.'.join(filter(None, components))!r}?" if any(components) else ""
        raise ConfigError(f"prefix={prefix!r} is not a module name: a component is empty.{hint}", origin="prefix")
