"""The check after every test can fail, and only the test that left something behind does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

LEAKS = """
    import pytest, torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    def replace_init():
        original = torch.nn.Module.__init__
        torch.nn.Module.__init__ = lambda self, *args: original(self, *args)

    def test_init(): replace_init()
    def test_hook(): register_module_forward_pre_hook(lambda module, args: None)
    def test_nothing(): torch.nn.Linear(2, 2)

    @pytest.mark.compiles
    def test_compiles(): replace_init()
"""


def test_leaks_are_found_and_end_with_their_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "__init__", torch.nn.Module.__init__)
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = compiles\n")
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_inprocess()
    # A leak shows in the teardown, which pytest counts as an error beside the passed test.
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_init*",
            "nn.Module.__init__ was left replaced by*",
            "*ERROR at teardown of test_hook*",
            "global forward pre-hooks were left behind*",
        ]
    )
