"""The check after every test can fail, and what was left behind is gone then."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.module import _global_forward_pre_hooks, register_module_forward_pre_hook

from .leaks import no_trace_of_the_hook

INIT = nn.Module.__init__


def replace_init() -> None:
    nn.Module.__init__ = lambda self, *args: INIT(self, *args)  # type: ignore[method-assign]


def test_a_constructor_that_is_left_replaced_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="nn.Module.__init__ was left replaced by"):
        with no_trace_of_the_hook():
            replace_init()
    assert nn.Module.__init__ is INIT


def test_a_hook_that_is_left_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="global forward pre-hooks were left behind"):
        with no_trace_of_the_hook():
            register_module_forward_pre_hook(lambda module, args: None)
    assert not _global_forward_pre_hooks


def test_what_leaves_nothing_and_what_compiles_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_trace_of_the_hook():
        nn.Linear(2, 2)
    monkeypatch.setattr(nn.Module, "__init__", INIT)
    with no_trace_of_the_hook(compiles=True):
        replace_init()
    monkeypatch.undo()
    assert torch.nn.Module.__init__ is INIT
