"""Users' own initializers, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...errors import ConfigTypeError
from ...initializers import register_initializer

F = TypeVar("F", bound=Callable[..., Any])


class WeightInitializers:
    """Registers initializers under `autoinit`'s own names, as the original's registry of that name does."""

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: F | None = None
    ) -> Any:
        """Give an initializer a name that configs can use as `type`: as a decorator, or with `module=` at once.

        Args:
            name: one or several; the name of the class if it is not given.
            force: take the name from whoever has it.
            module: a subclass of `BaseInit` that defines `__call__(module)`, or whatever
                `autoinit.register_initializer` takes.

        Raises:
            ConfigError: another initializer has the name.
            ConfigTypeError: an argument has a wrong type.
        """
        if not isinstance(force, bool):
            raise ConfigTypeError(f"register_module: force={force!r} must be true or false.")
        if name is not None and not isinstance(name, str) and not _is_sequence_of_strings(name):
            raise ConfigTypeError(f"register_module: name={name!r} must be a string or a sequence of strings.")

        def register(initializer: F) -> F:
            names = initializer.__name__ if name is None else name
            for each in (names,) if isinstance(names, str) else names:
                register_initializer(each, force=force)(initializer)
            return initializer

        return register if module is None else register(module)


def _is_sequence_of_strings(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(item, str) for item in value)


WEIGHT_INITIALIZERS = WeightInitializers()
