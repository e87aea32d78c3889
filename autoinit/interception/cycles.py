"""Modules that are not models of a block: dropped ones that wait for the garbage collector, failed constructions."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType, TracebackType

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

LIMIT = 200_000
"""Objects to look at before the answer is a careful yes."""


def refers_to_itself(root: nn.Module) -> bool:
    """Whether references lead from a model back to it, by way of containers, objects, methods and closures.

    A model that is there is referred to from outside, or by itself. One that is not in a cycle of references is thus in
    use; and to look for a cycle costs what walking the model costs, where a collection walks the whole heap.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> refers_to_itself(model)
        False
        >>> model.hook = model.forward
        >>> refers_to_itself(model)
        True
    """
    if is_parametrized(root):
        return True  # It has a class of its own, and a property of that holds it.
    seen = {id(root)}
    waiting: list[object] = [root]
    while waiting:
        for referent in _referents(waiting.pop()):
            if referent is root:
                return True
            if id(referent) not in seen and gc.is_tracked(referent) and not isinstance(referent, _ENDS):
                seen.add(id(referent))
                waiting.append(referent)
        if len(seen) > LIMIT:
            return True
    return False


def failed_constructions() -> set[int]:
    """Ids of the modules whose constructor raised, and which a traceback that is kept somewhere holds.

    A traceback begins with the frame that caught the exception: of the frames after it none returned.

    Example:
        >>> class Fails(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         raise ValueError
        >>> try:
        ...     Fails()
        ... except ValueError as error:
        ...     module = error.__traceback__.tb_next.tb_frame.f_locals["self"]
        ...     id(module) in failed_constructions()
        True
    """
    found: set[int] = set()
    for trace in gc.get_objects():
        frame = trace.tb_next.tb_frame if type(trace) is TracebackType and trace.tb_next is not None else None
        if frame is not None and frame.f_code.co_name == "__init__" and frame.f_code.co_argcount:
            owner = frame.f_locals.get(frame.f_code.co_varnames[0])
            if isinstance(owner, nn.Module):
                found.add(id(owner))
    return found


# Beyond these lies the whole program, or nothing that could refer to a module.
_ENDS = (type, ModuleType, Tensor)


def _referents(thing: object) -> list[object]:
    if isinstance(thing, FunctionType):
        return [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
    return gc.get_referents(thing)
