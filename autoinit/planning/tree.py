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
        ModuleGraphError: a module contains itself, or its constructor never called `super().__init__()`.

    Example:
        >>> from torch import nn
        >>> [node.fqn for node in walk(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU())))]
        ['', '0', '1', '1.0']
    """
    path: dict[int, str] = {}
    # An explicit stack: deep models would run into Python's limit on recursion. None marks the way back up.
    stack: list[Node | int] = [Node("", root, 0)]
    while stack:
        item = stack.pop()
        if isinstance(item, int):
            del path[item]
            continue
        fqn, module, depth = item
        key = id(module)
        if key in path:
            raise ModuleGraphError(
                f"{fqn}: the {type(module).__name__} at {path[key] or 'the root'!r} contains itself, so its parameters "
                "have no finite names. Keep the reference to a parent out of the module graph, for example in a tuple.",
                fqn=fqn,
            )
        children = children_of(item)
        yield item
        if children:
            path[key] = fqn
            stack.append(key)
            strip = wraps(module)
            for name, child in reversed(children.items()):
                if child is not None:
                    child_fqn = fqn if name in strip else f"{fqn}.{name}" if fqn else name
                    stack.append(Node(child_fqn, child, depth + 1))


def relative_name(fqn: str, base: str) -> str:
    """An FQN as seen from one of its ancestors."""
    return fqn[len(base) + 1 :] if base else fqn


def joined(base: str, name: str) -> str:
    """The FQN of something below `base`, either of which may be the root's empty one."""
    return f"{base}.{name}" if base and name else base or name


def children_of(node: Node) -> dict[str, nn.Module | None]:
    """The module's own table of children, which a module that was never initialized does not have."""
    try:
        return node.module._modules
    except AttributeError as error:
        name = type(node.module).__name__
        raise ModuleGraphError(
            f"{node.fqn or name}: {name} was never initialized as a module: its __init__ lacks super().__init__().",
            fqn=node.fqn,
        ) from error


def wraps(module: nn.Module) -> frozenset[str]:
    """The names of children that a wrapper adds to FQNs without being part of the model."""
    if any(base.__name__ in PARALLEL for base in type(module).__mro__):
        return WRAPPED | {"module"}
    return WRAPPED


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside wrappers such as DistributedDataParallel or a compiled module."""
    while True:
        inner = next((child for name, child in module._modules.items() if name in wraps(module) and child), None)
        if inner is None:
            return module
        module = inner
