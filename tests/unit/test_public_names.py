"""`__all__` of every public module is what its imports re-export, so that `from autoinit import *` gives no more."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.test_front_door import MODULES


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_has_every_public_name(module: ModuleType) -> None:
    names = {name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert set(module.__all__) ^ names == set()
    assert len(module.__all__) == len(names)
