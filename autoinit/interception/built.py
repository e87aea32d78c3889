"""The modules that were built in one block, without keeping them alive, and which of them are roots."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from types import FrameType, FunctionType, ModuleType, TracebackType

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from ..planning import PARALLEL

LIMIT = 200_000
"""Number of objects to search for a reference cycle before assuming that there is one."""

# These refer to the whole program, or to nothing that could refer to a module.
ENDS = (type, ModuleType, Tensor)


@dataclass(eq=False)
class BuiltModules:
    """Weak references to the modules of a block in the order of their construction, with what happened to each.

    Attributes:
        called: Ids of the modules whose `init_weights` has run.
        carried_out: Ids of the modules whose own rules and `init_weights` an inner block has applied.
        final: Ids of the modules whose values must not change any more: they have been used.
    """

    called: set[int] = field(default_factory=set)
    carried_out: set[int] = field(default_factory=set)
    final: set[int] = field(default_factory=set)
    _references: dict[int, weakref.ref[nn.Module]] = field(default_factory=dict)

    def add(self, module: nn.Module) -> None:
        """Record a module, once: two of its bases may call `nn.Module.__init__`."""
        key = id(module)
        known = self._references.get(key)
        if known is not None:
            if known() is module:
                return
            # That module is gone, and this one has got its id.
            del self._references[key]
            for marked in (self.called, self.carried_out, self.final):
                marked.discard(key)
        self._references[key] = weakref.ref(module)

    @property
    def is_empty(self) -> bool:
        """Whether no module was ever recorded."""
        return not self._references

    def __iter__(self) -> Iterator[nn.Module]:
        for reference in list(self._references.values()):  # Other threads may add modules meanwhile.
            module = reference()
            if module is not None:
                yield module

    def __contains__(self, module: object) -> bool:
        known = self._references.get(id(module))
        return known is not None and known() is module

    def roots(self) -> list[nn.Module]:
        """The modules that are not final and not part of another one, and hold a parameter or buffer."""
        modules = [module for module in self if "_modules" in module.__dict__ and id(module) not in self.final]
        inside = set(map(id, parts_of(modules)))
        return [module for module in modules if id(module) not in inside and self._holds_tensors(module)]

    def _holds_tensors(self, module: nn.Module) -> bool:
        held = [module, *module._modules.values()] if isinstance(module, nn.ModuleDict) else [module]
        if any(isinstance(part, ParametrizationList) for part in held):
            return False  # Parametrizations of a module that was built elsewhere.
        # A model that is final has its report already, and its parallel wrapper is not another model.
        done = self.final if is_parallel(module) else ()
        return any(
            (part._parameters or part._buffers) and id(part) not in done for part in (module, *parts_of([module]))
        )


def living_roots(built: BuiltModules) -> list[nn.Module]:
    """The roots without dropped ones: values depend on a root's index, which must not depend on the collector."""
    roots = built.roots()
    if len(roots) > 1 and any(map(_refers_to_itself, roots)):
        del roots
        gc.collect()
        roots = built.roots()
    failed = _failed_constructions() if len(roots) > 1 else ()
    return [root for root in roots if id(root) not in failed]


def parts_of(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The descendants of some modules, each once."""
    queue, found = list(modules), set[int]()
    for module in queue:  # It grows.
        for child in module._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                queue.append(child)
                yield child


def is_parallel(module: nn.Module) -> bool:
    """Whether a module only runs another one in parallel."""
    return not PARALLEL.isdisjoint(map(attrgetter("__name__"), type(module).__mro__))


def _refers_to_itself(root: nn.Module) -> bool:
    """Whether a model is part of a reference cycle: much cheaper than a collection, which walks the whole heap."""
    if is_parametrized(root):
        return True  # A property of the class that torch made for it refers to it.
    seen = {id(root)}
    queue: list[object] = [root]
    while queue and len(seen) <= LIMIT:
        each = queue.pop()
        if isinstance(each, FunctionType):  # Its globals are the whole program.
            referents: list[object] = [each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__]
        else:
            referents = gc.get_referents(each)
        for referent in referents:
            if referent is root:
                return True
            if id(referent) not in seen and gc.is_tracked(referent) and not isinstance(referent, ENDS):
                seen.add(id(referent))
                queue.append(referent)
    return len(seen) > LIMIT


def _failed_constructions() -> set[int]:
    """Ids of the modules whose constructor raised, and which a traceback still refers to."""
    # A traceback begins with the frame that caught the exception: the frames after it did not return.
    traces = (each for each in gc.get_objects() if type(each) is TracebackType)
    modules = (constructed_by(trace.tb_next.tb_frame) for trace in traces if trace.tb_next is not None)
    return {id(module) for module in modules if module is not None}


def constructed_by(frame: FrameType) -> nn.Module | None:
    """The module whose constructor runs in a frame."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_name == "__init__" and code.co_argcount else None
    return owner if isinstance(owner, nn.Module) else None
