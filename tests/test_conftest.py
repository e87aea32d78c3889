"""The check after every test can fail, and what was left behind is gone then."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn.modules.module import _global_forward_pre_hooks, register_module_forward_pre_hook

from tests.conftest import no_trace_of_the_hook


def replace_init() -> None:
    before = nn.Module.__init__
    nn.Module.__init__ = lambda self, *args: before(self, *args)  # type: ignore[method-assign]


def test_a_constructor_that_is_left_replaced_is_found() -> None:
    init = nn.Module.__init__
    with pytest.raises(pytest.fail.Exception, match="nn.Module.__init__ was left replaced by"):
        with no_trace_of_the_hook():
            replace_init()
    assert nn.Module.__init__ is init


def test_a_hook_that_is_left_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="global forward pre-hooks were left behind"):
        with no_trace_of_the_hook():
            register_module_forward_pre_hook(lambda module, args: None)
    assert not _global_forward_pre_hooks


def test_what_leaves_nothing_and_what_compiles_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    init = nn.Module.__init__
    with no_trace_of_the_hook():
        nn.Linear(2, 2)
    monkeypatch.setattr(nn.Module, "__init__", init)
    with no_trace_of_the_hook(compiles=True):
        replace_init()
    monkeypatch.undo()
    assert nn.Module.__init__ is init
