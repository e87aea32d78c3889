"""The list of mutants that no test can notice is about mutants that there are."""

from __future__ import annotations

import ast
from pathlib import Path

from .mutation.__main__ import sample
from .mutation.covering import TESTS
from .mutation.equivalent import reasons
from .mutation.operators import mutants


def test_what_is_listed_as_equivalent_is_there_and_has_a_reason() -> None:
    found = {name for folder in TESTS for mutant in sample(folder, 0, 0)[0] for name in (mutant.name, mutant.line_name)}
    assert reasons().keys() <= found
    assert all(reasons().values())


def test_a_mutant_is_the_module_with_one_thing_changed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""Text."""\n\ndef least(a: int = 0) -> int:\n    return min(zip(a, a, strict=True)) < 1\n')
    made = {mutant.name: ast.unparse(mutant.tree(tmp_path)) for mutant in mutants(path, tmp_path)}
    code = "module.py: return min(zip(a, a, strict=True)) < 1"
    less = "min(zip(a, a, strict=True)) < 1"
    assert list(made) == [
        "module.py: def least(a: int = 0) -> int:: 0 -> 1",
        f"{code}: return {less} -> return None",
        f"{code}: {less} -> {less.replace('<', '<=')}",
        f"{code}: 1 -> 2",
    ]
    assert "return min(zip(a, a, strict=True)) <= 1" in made[f"{code}: {less} -> {less.replace('<', '<=')}"]
