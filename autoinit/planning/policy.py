"""What planning respects besides rules: the user's options, and what a block has built, loaded or filled before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .._torch import is_fake
from ..construction import Content
from ..errors import ConfigError, ConfigTypeError, nearest
from ..globs import fqn_pattern
from ..sampling import VERSION
from .entries import COPY_OF, Entry

Unmatched = Literal["auto", "error", "warn", "ignore"]
"""What happens to a rule that selects nothing. "auto": an error if it is certainly a mistake (a `layer` that no class
has, a `name`, `params` or override target that the model lacks) in a config that the user passed, else a warning."""

Fan = Literal["auto", "layer", "torch"]
"""How fans are read where a rule has no `fan`. "auto": "torch" for OpenMMLab's initializers, "layer" for others."""

OwnInitMode = Literal["auto", "run", "skip"]
"""Whether to call modules' own `init_weights()`. "auto": in a block, unless it was called during construction; for an
existing model, where OpenMMLab's protocol does. "run": also if it was called before. "skip": never."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The options that `autoinit`, `initialize` and `plan` have in common; their docstrings say what each means.

    Raises:
        ConfigError, ConfigTypeError: A value is unknown.
    """

    unmatched: Unmatched = "auto"
    fan: Fan = "auto"
    own_init: OwnInitMode = "auto"
    version: int = VERSION
    require_coverage: bool = False
    allow_uncovered: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, choice in (("unmatched", Unmatched), ("fan", Fan), ("own_init", OwnInitMode)):
            value, known = getattr(self, name), get_args(choice)
            if value not in known:
                hint = nearest(str(value), known)
                raise ConfigError(f"{name}={value!r} is unknown.{hint} Known: {', '.join(known)}.")
        versions = range(1, VERSION + 1)
        if self.version not in versions or isinstance(self.version, bool):
            raise ConfigError(f"version={self.version!r} is unknown. Known: {', '.join(map(str, versions))}.")
        if not isinstance(self.require_coverage, bool):
            raise ConfigTypeError(f"require_coverage={self.require_coverage!r} must be true or false.")
        patterns = (self.allow_uncovered,) if isinstance(self.allow_uncovered, str) else self.allow_uncovered
        if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ConfigTypeError(f"allow_uncovered={patterns!r} must be a list of names or globs.")
        if patterns and not self.require_coverage:
            raise ConfigError("allow_uncovered has no effect without require_coverage=True.")
        for pattern in patterns:
            fqn_pattern(pattern)
        object.__setattr__(self, "allow_uncovered", tuple(patterns))


@dataclass(frozen=True, kw_only=True)
class PlanContext:
    """What planning respects besides rules.

    Args:
        built: Ids of the modules that were built in the block; None for a model that exists already.
        final: Ids of the modules whose values must not change any more.
        content: What the construction record knows of a tensor; None if nothing was recorded.
        taken: Ids of the parameters that also belong to an earlier root of the block.
        filled_within: By id, the entries of parameters that an inner block has filled already.
        applied_within: Ids of the modules whose own rules and `init_weights` an inner block has applied.
        called: Ids of the modules whose `init_weights` has run in the block; None for a model that exists already.
        has_rules: Whether this block or one around it has rules; without rules no module's `init_weights` is called.
        running: Ids of the modules whose `init_weights` is running right now.
        rules_only: Whether modules' own `init_cfg` and `init_weights` are ignored.
        shallow: Whether only the root is planned, and not the modules inside it.
        policy: The user's options.
    """

    built: Container[int] | None = None
    final: Container[int] = ()
    content: Callable[[Tensor], Content | None] | None = None
    taken: Set[int] = frozenset()
    filled_within: Mapping[int, Entry] = field(default_factory=dict)
    applied_within: Container[int] = ()
    called: Container[int] | None = None
    has_rules: bool = True
    running: Container[int] = ()
    rules_only: bool = False
    shallow: bool = False
    policy: Policy = field(default_factory=Policy)

    def may_touch(self, module: nn.Module) -> bool:
        """Whether a module may be initialized: it was built in the block, and its values are not final."""
        return (self.built is None or id(module) in self.built) and id(module) not in self.final

    def is_unwritten(self, tensors: Collection[Tensor]) -> bool:
        """Whether nothing was ever written to one of these tensors, which has elements in memory."""
        return self.content is not None and any(
            not is_lazy(tensor) and not tensor.is_meta and tensor.numel() and self.content(tensor) is None
            for tensor in tensors
        )

    def why_kept(self, module: nn.Module, tensors: Collection[Tensor]) -> str | None:
        """Why the values of a module's tensors must not change, if so."""
        if id(module) in self.final:
            return "final since its first call"
        if not self.may_touch(module):
            return "built outside the block"
        if self.content is not None:
            for tensor in tensors:
                if is_fake(tensor):
                    return "a FakeTensor without memory"
                content = None if is_lazy(tensor) or tensor.is_meta else self.content(tensor)
                if content is not None and content.is_data:
                    return content.describe()
        if self.taken and any(id(tensor) in self.taken for tensor in tensors):
            return "shared with an earlier root of the block"
        return None


def may_overwrite(kept: str) -> bool:
    """Whether `overwrite=True` fills a parameter that is kept for this reason."""
    return kept.startswith(("data", COPY_OF))
