"""The walk over a model: every path to every module, under its fully qualified name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from ..errors import ModuleGraphError

WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
PARALLEL = frozenset({"DataParallel", "DistributedDataParallel"})


class Node(NamedTuple):
    """One path to one module."""

    fqn: str
    module: nn.Module
    depth: int


def walk(root: nn.Module) -> Iterator[Node]:
    """Every path to every module, parents first, in the order of `named_modules`; a shared module comes once a path.

    Raises:
        ModuleGraphError: A module contains itself, or its constructor never called `super().__init__()`.

    Example:
        >>> from torch import nn
        >>> [node.fqn for node in walk(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU())))]
        ['', '0', '1', '1.0']
    """
    path: dict[int, str] = {}
    # An explicit stack: deep models would reach Python's recursion limit. An id marks the way back up.
    stack: list[Node | int] = [Node("", root, 0)]
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            del path[node]
            continue
        fqn, module, depth = node
        name = type(module).__name__
        if id(module) in path:
            raise ModuleGraphError(
                f"{fqn}: the {name} at {path[id(module)] or 'the root'!r} contains itself, so its parameters "
                "have no finite names. Keep the reference to a parent out of the module graph, for example in a tuple.",
                fqn=fqn,
            )
        try:
            children = module._modules
        except AttributeError as error:
            raise ModuleGraphError(
                f"{fqn or name}: {name} was never initialized as a module: its __init__ lacks super().__init__().",
                fqn=fqn,
            ) from error
        yield node
        if children:
            path[id(module)] = fqn
            stack.append(id(module))
            wrapped = wraps(module)
            for name, child in reversed(children.items()):
                if child is not None:
                    stack.append(Node(fqn if name in wrapped else joined(fqn, name), child, depth + 1))


def joined(base: str, name: str) -> str:
    """The FQN of something below `base`; the root's FQN is empty."""
    return f"{base}.{name}" if base and name else base or name


def relative_name(fqn: str, base: str) -> str:
    """An FQN as seen from one of its ancestors."""
    return fqn[len(base) + 1 :] if base else fqn


def wraps(module: nn.Module) -> frozenset[str]:
    """The names of children that are left out of FQNs, because the module may only wrap them."""
    parallel = any(base.__name__ in PARALLEL for base in type(module).__mro__)
    return WRAPPED | {"module"} if parallel else WRAPPED


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside wrappers such as DistributedDataParallel or a compiled module."""
    while True:
        inner = next((child for name, child in module._modules.items() if name in wraps(module) and child), None)
        if inner is None:
            return module
        module = inner
