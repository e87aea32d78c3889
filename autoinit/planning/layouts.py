"""How the axes of a model's weights are read: by what the modules around each say of it, or its own layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from ..fans import Layout, inner_layouts, own_layout
from .records import Record


class Layouts:
    """The conventions of one model, asked only for weights whose scheme takes notice.

    Args:
        modules: of the model, by FQN.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._inner: dict[int, Mapping[str, Layout | None]] = {}

    def of(self, record: Record) -> Layout | None:
        """How a tensor is read, under any of its names; None for as torch does.

        Raises:
            ShapeError: a convention failed.
        """
        for fqn in (record.fqn, *record.aliases):
            for outer, path in splits(fqn):
                module = self._modules.get(outer)
                inner = self._said_by(module) if module is not None else {}
                if path in inner:
                    return inner[path]
        return own_layout(record.owner, record.name)

    def _said_by(self, module: nn.Module) -> Mapping[str, Layout | None]:
        """What a module says of the parameters inside it."""
        found = self._inner.get(id(module))
        if found is None:
            found = self._inner[id(module)] = inner_layouts(module)
        return found


def splits(fqn: str) -> Iterator[tuple[str, str]]:
    """The modules around a parameter, the outermost first, each with the parameter's path in it.

    Example:
        >>> list(splits("block.attn.qkv.weight"))
        [('', 'block.attn.qkv.weight'), ('block', 'attn.qkv.weight'), ('block.attn', 'qkv.weight')]
    """
    outer, path = "", fqn
    while "." in path:
        yield outer, path
        name, _, path = path.partition(".")
        outer = f"{outer}.{name}" if outer else name
