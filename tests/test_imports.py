"""The way through the house is one way: what a file may import, what it may be called, what it costs."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from grimp import ImportGraph

import autoinit
from autoinit import _torch
from tests.processes import Interpreter

PACKAGE = Path(autoinit.__file__).parent

ROOT = Path(__file__).parents[1]


def floors_in_table(text: str) -> dict[str, int]:
    """Part -> floor, from the rows `| 3 | `fills` | ... |` of `docs/design.md`."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE)
    return {part: int(floor) for floor, parts in rows for part in re.findall(r"`_?(\w+)`", parts)}


def floors_in_picture(text: str) -> dict[str, int]:
    """Part -> floor, from the lines ` 3  fills    what it holds` of `CONTRIBUTING.md`."""
    rows = re.findall(r"^ ?(\d+)  ((?:\w+ {1,2})+) {2,}\S", text, re.MULTILINE)
    return {part.lstrip("_"): int(floor) for floor, parts in rows for part in parts.split()}


# A part is a module or folder right under the package, its leading underscore aside. It imports from
# parts on lower floors and from itself, never from a neighbour.
FLOORS = floors_in_table((ROOT / "docs" / "design.md").read_text())

# A module named like a function of the front door would take its place once it is imported.
PUBLIC_FUNCTIONS = {
    *("autoinit", "plan", "trace", "verify", "materialize", "rebuild", "initialize", "paused", "propagate")
}
NAMES_THAT_SAY_NOTHING = {"utils", "helper", "helpers", "manager", "info", "common", "misc"}
OPTIONAL = {
    *("hypothesis", "huggingface_hub", "matplotlib", "mmengine", "numpy", "omegaconf", "scipy", "timm", "torchvision"),
    "transformers",
}
LAZY = {"filelock", "rich", "safetensors", "yaml"}


def parts_of(graph: ImportGraph, package: str) -> dict[str, str]:
    """Modules and folders right under a package, by their names without the leading underscore."""
    names = (child.removeprefix(f"{package}.") for child in graph.find_children(package))
    return {name.lstrip("_"): name for name in names if name != "__main__"}


def floor_violations(package: str, floors: dict[str, int]) -> set[str]:
    """Imports from a floor that is not lower, or from the front door, inside functions too."""
    graph = grimp.build_graph(package, cache_dir=None)
    parts = parts_of(graph, package)
    found = {f"{part!r} has no floor; give it one in the table of docs/design.md" for part in parts.keys() - floors}
    on_floor = [{parts[part] for part in parts if floors.get(part) == floor} for floor in sorted({*floors.values()})]
    layers = [grimp.Layer(*names, independent=True) for names in reversed(on_floor) if names]
    if layers:
        illegal = graph.find_illegal_dependencies_for_layers(layers=layers, containers={package})
        ways = (
            (*sorted(route.heads), *route.middle, *sorted(route.tails)) for each in illegal for route in each.routes
        )
        found |= {" imports ".join(way) for way in ways}
    doors = graph.find_modules_that_directly_import(package) - {f"{package}.__main__"}
    return found | {f"{module} imports from the front door, which is above every floor" for module in doors}


def python_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[list[str]]:
    """Dotted names of packages that are not this one; from `from x import y` both may be modules, so it gives `x.y`."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".") for alias in node.names]
    return [] if node.level or not node.module else [[*node.module.split("."), alias.name] for alias in node.names]


def imports_at_import_time(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that runs when the module is imported: not those in functions or for type checkers."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        pending.extend(ast.iter_child_nodes(node))


def eager_imports(root: Path, packages: set[str]) -> list[str]:
    return [
        f"{path.relative_to(root.parent).as_posix()}:{node.lineno}: {name[0]} is imported before anybody asks"
        for path in python_files(root)
        for node in imports_at_import_time(ast.parse(path.read_text()))
        for name in imported_modules(node)
        if name[0] in packages
    ]


OF_TORCH = {"torch", "nn", "functional", "Tensor", "parametrize"}
OF_TENSORS = {"_cdata", "_version", "_schema"}
ONE_FILE = "_torch.py"
PATCHED = {_torch.NO_GRAD_TRUNC_NORMAL, _torch.INJECT_NEW_CLASS}
"""Functions that are patched are named in strings."""


def private_names_of_torch(root: Path) -> list[str]:
    """Where names of torch with an underscore are used outside the one file that says why each is needed."""
    found = []
    for path in python_files(root):
        if path.name == ONE_FILE:
            continue
        where = path.relative_to(root.parent).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [name for name in imported_modules(node) if name[0] == "torch"]
                found += [f"{where}:{node.lineno}: {'.'.join(name)}" for name in names if any(map(is_private, name))]
            elif isinstance(node, ast.Constant) and node.value in PATCHED:
                found.append(f"{where}:{node.lineno}: {node.value}")
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                of_torch = isinstance(node.value, (ast.Name, ast.Attribute)) and root_name(node.value) in OF_TORCH
                if of_torch or node.attr in OF_TENSORS:
                    found.append(f"{where}:{node.lineno}: {node.attr}")
    return found


def root_name(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def write_package(root: Path, files: dict[str, str]) -> Path:
    for name, source in {"__init__.py": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)
    return root


def test_every_file_imports_from_lower_floors_only() -> None:
    assert floor_violations("autoinit", FLOORS) == set()


def test_every_floor_is_lived_in() -> None:
    assert FLOORS.keys() == parts_of(grimp.build_graph("autoinit", cache_dir=None), "autoinit").keys()


def test_names_of_modules() -> None:
    names = {path.stem for path in PACKAGE.rglob("*") if path.is_dir() or path.suffix == ".py"}
    assert not names & PUBLIC_FUNCTIONS
    assert not {name.strip("_") for name in names} & NAMES_THAT_SAY_NOTHING


def test_optional_and_heavy_packages_are_imported_where_they_are_used() -> None:
    assert eager_imports(PACKAGE, OPTIONAL | LAZY) == []


def test_private_names_of_torch_are_in_one_file() -> None:
    assert private_names_of_torch(PACKAGE) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch._C._functorch",
        "from torch._ops import OpOverload",
        "from torch.nn.parameter import _ParameterMeta",
        "from torch import nn\nnn.init._no_grad_fill_",
        "def key(tensor):\n    return tensor.untyped_storage()._cdata",
        "want(parametrize, '_inject_new_class', wrapper)",
    ],
)
def test_the_check_of_private_names_can_fail(text: str, tmp_path: Path) -> None:
    assert private_names_of_torch(write_package(tmp_path / "autoinit", {"new.py": text}))


@pytest.mark.parametrize("name", ["_C._current_graph_task_id", "_C._storage_Use_Count", "_GLOBAL_DEVICE_CONTEXT"])
def test_a_torch_without_a_private_name_fails_at_import_and_names_it(name: str, interpreter: Interpreter) -> None:
    run = interpreter.run(f"import torch\ndel torch.{name}\nimport autoinit")
    assert run.returncode == 1
    assert name.rpartition(".")[2] in run.stderr.splitlines()[-1]


def test_importing_autoinit_imports_little_else(interpreter: Interpreter) -> None:
    code = "import sys, torch; had = {*sys.modules}; import autoinit; print(*({*sys.modules} - had))"
    new = {name.partition(".")[0] for name in interpreter.check(code).split()}
    assert "autoinit" in new
    assert not new & (OPTIONAL | LAZY)


@pytest.mark.parametrize(
    ("statement", "violation"),
    [
        *((f"from {module} import Rule", "fake.sampling imports fake.rules") for module in (".rules", "fake.rules")),
        *((f"{text} fake.rules", "fake.sampling imports fake.rules") for text in ("import", "def f():\n    import")),
        ("from . import rules", "fake.sampling imports fake.rules"),
        ("from .rules.selectors import Selector", "fake.sampling imports fake.rules.selectors"),
        ("if TYPE_CHECKING:\n    from .rules import Rule", "fake.sampling imports fake.rules"),
        ("from .fans import fan", "fake.sampling imports fake.fans"),
        ("from . import __version__", "fake.sampling imports from the front door"),
        ("import fake", "fake.sampling imports from the front door"),
        ("from .attic import old", "'attic' has no floor; give it one in the table of docs/design.md"),
        ("from .errors import Error", ""),
    ],
)
def test_the_floor_check_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, violation: str
) -> None:
    files = dict.fromkeys(["rules/__init__.py", "rules/selectors.py", "fans.py", "_errors.py"], "")
    files |= {"attic.py": ""} if "attic" in statement else {}
    write_package(tmp_path / "fake", {**files, "sampling.py": statement})
    monkeypatch.syspath_prepend(tmp_path)
    found = floor_violations("fake", {"rules": 5, "fans": 1, "sampling": 1, "errors": 0})
    assert any(each.startswith(violation) for each in found) if violation else found == set()


def test_the_eager_import_check_can_fail(tmp_path: Path) -> None:
    lazy = "def f():\n    import rich\nif TYPE_CHECKING:\n    import rich\n"
    eager = "try:\n    from yaml import load\nfinally:\n    pass\nclass A:\n    import numpy.linalg\n"
    fake = write_package(tmp_path / "fake", {"lazy.py": lazy, "eager.py": eager})
    numpy, yaml = sorted(found.split(": ")[1] for found in eager_imports(fake, OPTIONAL | LAZY))
    assert numpy.startswith("numpy is imported")
    assert yaml.startswith("yaml is imported")


def test_the_picture_of_the_floors_is_the_table() -> None:
    assert floors_in_picture((ROOT / "CONTRIBUTING.md").read_text()) == FLOORS
    assert len(FLOORS) > 20


def test_no_two_files_have_one_name() -> None:
    names = Counter(path.name for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
    assert [name for name, count in names.items() if count > 1] == []
