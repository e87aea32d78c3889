"""Contract I3 as a check around any code: `nn.Module` is afterwards what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn.modules import module as torch_module


@contextmanager
def no_trace_of_the_hook(*, compiles: bool = False) -> Iterator[None]:
    """Fail if a hook is left behind, and remove it: a leak is this code's failure, not that of all after it.

    Args:
        compiles: whether the code may run `torch.compile`, which replaces `nn.Module.__init__` for good.
    """
    init = torch.nn.Module.__init__
    yield
    leaked_init = torch.nn.Module.__init__
    leaked_hooks = list(torch_module._global_forward_pre_hooks.values())
    torch_module._global_forward_pre_hooks.clear()
    if leaked_init is not init and not compiles:
        torch.nn.Module.__init__ = init
        pytest.fail(f"nn.Module.__init__ was left replaced by {leaked_init!r}", pytrace=False)
    if leaked_hooks:
        pytest.fail(f"global forward pre-hooks were left behind: {leaked_hooks}", pytrace=False)
