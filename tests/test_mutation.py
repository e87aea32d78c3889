"""The mutants of the campaign `make mutants`, and entries of its list that are out of date."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutation.__main__ import stale
from tests.mutation.operators import mutants


def module(folder: Path) -> Path:
    path = folder / "module.py"
    path.write_text('"""Text."""\n\ndef least(a: int = 0) -> int:\n    return min(zip(a, a, strict=True)) < 1\n')
    return path


def test_a_mutant_that_is_listed_and_no_longer_there_is_stale(tmp_path: Path) -> None:
    made = list(mutants(module(tmp_path), tmp_path))
    listed = {made[0].name: "reason", made[1].line_name: "reason", "module.py: gone": "reason"}
    assert stale(made, listed) == ["module.py: gone"]


def test_a_mutant_is_the_module_with_one_thing_changed(tmp_path: Path) -> None:
    path = module(tmp_path)
    made = {}
    for mutant in mutants(path, tmp_path):
        with mutant.made() as changed:
            made[mutant.name] = ast.unparse(changed)
    code = "module.py: return min(zip(a, a, strict=True)) < 1"
    less = "min(zip(a, a, strict=True)) < 1"
    assert list(made) == [
        "module.py: def least(a: int = 0) -> int:: 0 -> 1",
        f"{code}: return {less} -> return None",
        f"{code}: {less} -> {less.replace('<', '<=')}",
        f"{code}: 1 -> 2",
    ]
    assert "return min(zip(a, a, strict=True)) <= 1" in made[f"{code}: {less} -> {less.replace('<', '<=')}"]
