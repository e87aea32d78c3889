"""The pytest plugin in users' suites: each fixture passing and failing, options, marks, and import costs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401 - pytester forgets what a run inside this process imports, and NumPy's parts come once.

import autoinit.testing  # noqa: F401 - Likewise.

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[3]
PLUGIN = ("-p", "pytest_autoinit")

MODEL = """
    import copy, random
    import pytest, torch
    from torch import nn
    from autoinit import initialize

    CFG = [dict(type="Normal", layer="Linear", std=0.02)]

    @pytest.fixture
    def model():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
        initialize(made, CFG, seed=0)
        return made
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's project with a model and its config."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.syspath_prepend(str(REPOSITORY))
    pytester.makeconftest("")
    return pytester


def run(suite: pytest.Pytester, tests: str, *args: str) -> pytest.RunResult:
    suite.makepyfile(test_model=f"{MODEL}{tests}")
    return suite.runpytest_inprocess(*PLUGIN, "--strict-markers", "-Werror::UserWarning", *args)


def test_every_fixture_passes(suite: pytest.Pytester) -> None:
    tests = """
    def test_values(model, assert_initialized):
        assert assert_initialized(model, CFG).ok

    def test_seed(assert_same_init):
        assert_same_init(lambda: nn.Linear(4, 4), 3)

    def test_copies(model, assert_no_duplicates):
        assert_no_duplicates(model)
        model.append(copy.deepcopy(model[0]))
        assert_no_duplicates(model, ignore=["2.*"])

    def test_plan(model, init_snapshot):
        init_snapshot(model, CFG)
    """
    run(suite, tests, "--autoinit-update").assert_outcomes(passed=4)
    run(suite, tests).assert_outcomes(passed=4)


def test_a_failure_shows_the_users_line_and_the_message(suite: pytest.Pytester) -> None:
    tests = """
    def test_values(model, assert_initialized):
        nn.init.kaiming_normal_(model[1].weight)
        assert_initialized(model, CFG)

    def build():
        layer = nn.Linear(4, 4)
        nn.init.constant_(layer.bias, random.random())
        return layer

    def test_seed(assert_same_init):
        assert_same_init(build, seed=3)

    def test_copies(model, assert_no_duplicates):
        model.append(copy.deepcopy(model[0]))
        assert_no_duplicates(model)
    """
    result = run(suite, tests)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            ">       assert_initialized(model, CFG)",
            "E *autoinit.errors.VerificationError: 1 of 4 parameters of Sequential failed; 4 tested, * = 0.001:",
            "E * 1.weight: std 0.*, not 0.02: off by *init_cfg[[]0] asks for Normal(mean=0, std=0.02).*",
            ">       assert_same_init(build, seed=3)",
            "E       *VerificationError: Two builds of Linear under torch.manual_seed(3) differ in 1 of 2 parameters *",
            "E         bias (Linear): 4 of 4 values differ, by * at most",
            "E       Python's `random`, which torch.manual_seed does not seed, decides bias.",
            ">       assert_no_duplicates(model)",
            "E       *VerificationError: Random values of Sequential occur twice, in 1 parameter:",
            "E         2.weight (Linear): is a copy of 0.weight",
        ]
    )
    for ours in ("*raise_for_failures*", "*autoinit/testing*"):
        result.stdout.no_fnmatch_line(ours)


SNAPSHOTS = """
    class TestNet:
        def test_plan(self, model, init_snapshot):
            init_snapshot(model, CFG)
            init_snapshot(nn.Linear(2, 2), CFG, name="head")

    @pytest.mark.parametrize("std", [0.02, 0.5])
    def test_std(model, init_snapshot, std):
        init_snapshot(model, dict(CFG[0], std=std))
"""


def test_snapshots_are_beside_the_test_under_its_name(suite: pytest.Pytester) -> None:
    result = run(suite, SNAPSHOTS)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E*no snapshot of how Sequential is initialized (__init_snapshots__/test_model/TestNet.test_plan.txt)*"]
    )
    assert not (suite.path / "__init_snapshots__").exists()
    run(suite, SNAPSHOTS, "--autoinit-update").assert_outcomes(passed=3)
    folder = suite.path / "__init_snapshots__" / "test_model"
    names = {"TestNet.test_plan-head.txt", "TestNet.test_plan.txt", "test_std[0.02].txt", "test_std[0.5].txt"}
    assert {path.name for path in folder.iterdir()} == names
    assert "Normal(mean=0, std=0.5) | " in (folder / "test_std[0.5].txt").read_text()
    changed = SNAPSHOTS.replace("(model, CFG)", "(model, CFG + [dict(type='Xavier', name='1')])")
    result = run(suite, changed)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*Sequential is not initialized as __init_snapshots__/test_model/TestNet.test_plan.txt says:",
            "E       -1.weight | 64 x 64 | float32 | Normal(mean=0, std=0.02) | init_cfg[[]0]",
            "E       +1.weight | 64 x 64 | float32 | Normal(mean=0, std=0.125) | *init_cfg[[]1] | init_cfg[[]0]",
            "E       If that is meant, write it with pytest --autoinit-update.",
        ]
    )
    run(suite, changed, "--autoinit-update").assert_outcomes(passed=3)
    run(suite, changed).assert_outcomes(passed=3)


ALPHA = """
    def test_bare(model, assert_initialized):
        print("bare", assert_initialized(model, CFG).alpha)

    @pytest.mark.init_alpha(1e-6)
    class TestMarked:
        def test_class(self, model, assert_initialized):
            print("class", assert_initialized(model, CFG).alpha)

        @pytest.mark.init_alpha("1e-5")
        def test_method(self, model, assert_initialized):
            print("method", assert_initialized(model, CFG).alpha)

        def test_argument(self, model, assert_initialized):
            print("argument", assert_initialized(model, CFG, alpha=0.25).alpha)
"""


@pytest.mark.parametrize(
    ("ini", "args", "bare"),
    [("", (), 0.001), ("1e-2", (), 0.01), ("1e-2", ("--autoinit-alpha=2e-4",), 0.0002)],
    ids=["default", "ini", "option"],
)
def test_the_closest_alpha_counts(suite: pytest.Pytester, ini: str, args: tuple[str, ...], bare: float) -> None:
    suite.makeini(f"[pytest]\nautoinit_alpha = {ini}\n")
    result = run(suite, ALPHA, "-s", *args)
    result.assert_outcomes(passed=4)
    for line in (f"bare {bare}", "class 1e-06", "method 1e-05", "argument 0.25"):
        result.stdout.fnmatch_lines([f"*{line}"])


@pytest.mark.parametrize("value", ["2", "0", "-1", "nan", "often"])
def test_a_bad_option_or_setting_is_a_usage_error(suite: pytest.Pytester, value: str) -> None:
    result = run(suite, ALPHA, f"--autoinit-alpha={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*error: argument --autoinit-alpha: '{value}' is no rate of false alarms*1e-3."])
    suite.makeini(f"[pytest]\nautoinit_alpha = {value}\n")
    result = run(suite, ALPHA)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: autoinit_alpha: '{value}' is no rate of false alarms: *"])


ONE = "it takes one number, as in @pytest.mark.init_alpha(1e-6)."
MARKS = {
    "init_alpha(2)": "2 is no rate of false alarms: it must be between 0 and 1, such as 1e-3.",
    "init_alpha": ONE,
    "init_alpha(1e-3, 1e-4)": ONE,
    "init_alpha(1e-3, hard=True)": ONE,
    "init_alpha(alpha=1e-3)": ONE,
    "init_alpha(None)": "None is no rate of false alarms: give a number such as 1e-3.",
}


def test_a_bad_mark_is_an_error_that_names_the_test(suite: pytest.Pytester) -> None:
    test = "\n    @pytest.mark.{}\n    def test_{}(model, assert_initialized):\n        pass\n"
    result = run(suite, "".join(test.format(mark, at) for at, mark in enumerate(MARKS)))
    result.assert_outcomes(errors=len(MARKS))
    expected = [f"@pytest.mark.init_alpha of test_{at}: {text}" for at, text in enumerate(MARKS.values())]
    result.stdout.fnmatch_lines(expected)


@pytest.mark.slow
def test_it_works_under_xdist(suite: pytest.Pytester) -> None:
    tests = """
    def test_alpha(init_alpha):
        assert init_alpha == 1e-4
    """
    suite.makepyfile(test_model=f"{MODEL}{SNAPSHOTS}{tests}")
    args = ("--strict-markers", "-n", "1", "--autoinit-update", "--autoinit-alpha=1e-4")
    suite.runpytest_subprocess(*PLUGIN, *args).assert_outcomes(passed=4)
    assert len([*(suite.path / "__init_snapshots__" / "test_model").iterdir()]) == 4


@pytest.mark.slow
def test_a_run_that_does_not_use_it_imports_neither_torch_nor_autoinit(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_nothing():
            assert "pytest_autoinit" in sys.modules
            assert not {"torch", "numpy", "autoinit"} & {*sys.modules}

        def test_check_can_fail(init_alpha, assert_same_init):
            assert {"torch", "autoinit"} <= {*sys.modules}
        """
    )
    suite.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=2)


def test_the_module_alone_imports_pytest_only() -> None:
    code = "import sys, pytest; had = {*sys.modules}; import pytest_autoinit; print(*({*sys.modules} - had))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert {name.partition(".")[0] for name in done.stdout.split()} <= {"pytest_autoinit", *sys.stdlib_module_names}


def test_the_entry_point_is_the_module_under_its_own_name() -> None:
    # Under another name pytest would refuse to start where `-p pytest_autoinit` has loaded it already.
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["pytest11"].items()
    assert EntryPoint(name, value, "pytest11").load().__name__ == name


@pytest.mark.slow
def test_loaded_twice_is_loaded_once(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if it were installed, beside whatever is.
    folder = suite.mkdir("torch_autoinit_again-0.dist-info")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch-autoinit-again\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[pytest11]\npytest_autoinit = pytest_autoinit\n")
    suite.makepyfile("def test_nothing(init_alpha): pass")
    monkeypatch.setenv("PYTHONPATH", f"{suite.path}{os.pathsep}{REPOSITORY}")
    suite.runpytest_subprocess().assert_outcomes(passed=1)
    suite.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)
    suite.runpytest_subprocess("-p", "no:autoinit").assert_outcomes(errors=1)
