"""The way through the house is one way: what a file may import, what it may be called, what it costs."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

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
FRONT_DOORS = {"__init__", "__main__"}

# A module named like a function of the front door would take its place once it is imported.
PUBLIC_FUNCTIONS = {
    "autoinit",
    "plan",
    "trace",
    "verify",
    "materialize",
    "rebuild",
    "initialize",
    "paused",
    "propagate",
}
NAMES_THAT_SAY_NOTHING = {"utils", "helper", "helpers", "manager", "info", "common", "misc"}

OPTIONAL = {
    "hypothesis",
    "huggingface_hub",
    "matplotlib",
    "mmengine",
    "numpy",
    "omegaconf",
    "scipy",
    "timm",
    "torchvision",
    "transformers",
}
LAZY = {"filelock", "rich", "safetensors", "yaml"}


def python_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def part_of(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").parts[0].lstrip("_")


def is_front_door(path: Path, root: Path) -> bool:
    return path.parent == root and path.stem in FRONT_DOORS


def imported_modules(node: ast.Import | ast.ImportFrom, path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Dotted names, absolute; from `from x import y` both may be modules, so it gives `x.y`."""
    if isinstance(node, ast.Import):
        yield from (tuple(alias.name.split(".")) for alias in node.names)
        return
    base: tuple[str, ...] = ()
    if node.level:
        folder = (root.name, *path.relative_to(root).parent.parts)
        base = folder[: len(folder) - node.level + 1]
    module = tuple(node.module.split(".")) if node.module else ()
    yield from ((*base, *module, alias.name) for alias in node.names)


def imported_parts(tree: ast.AST, path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and part of every import from the package itself, inside functions too."""
    parts = {part_of(file, root) for file in python_files(root) if not is_front_door(file, root)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in imported_modules(node, path, root):
                if name[0] == root.name:
                    part = name[1].lstrip("_") if len(name) > 1 else ""
                    yield node.lineno, part if part in parts else "the front door"


def floor_violations(root: Path, floors: dict[str, int]) -> list[str]:
    found = []
    for path in python_files(root):
        if is_front_door(path, root):
            continue
        part, where = part_of(path, root), path.relative_to(root.parent).as_posix()
        if part not in floors:
            found.append(f"{where}: {part!r} has no floor; give it one in the table of docs/design.md")
            continue
        for line, target in imported_parts(ast.parse(path.read_text()), path, root):
            if target == "the front door":
                found.append(f"{where}:{line}: imports from the front door, which is above every floor")
            elif target != part and floors.get(target, -1) >= floors[part]:
                found.append(f"{where}:{line}: {part} (floor {floors[part]}) imports {target} ({floors[target]})")
    return found


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
        for name in imported_modules(node, path, root)
        if name[0] in packages
    ]


OF_TORCH = {"torch", "nn", "functional", "Tensor", "parametrize"}
OF_TENSORS = {"_cdata", "_version", "_schema"}
ONE_FILE = "_torch.py"
PATCHED = {_torch.NO_GRAD_TRUNC_NORMAL, _torch.INJECT_NEW_CLASS}
"""Those that are patched are named in strings."""


def private_names_of_torch(root: Path) -> list[str]:
    """Where names of torch with an underscore are used outside the one file that says why each is needed."""
    found = []
    for path in python_files(root):
        if path.name == ONE_FILE:
            continue
        where = path.relative_to(root.parent).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [name for name in imported_modules(node, path, root) if name[0] == "torch"]
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
    assert floor_violations(PACKAGE, FLOORS) == []


def test_every_floor_is_lived_in() -> None:
    assert set(FLOORS) == {part_of(path, PACKAGE) for path in python_files(PACKAGE) if not is_front_door(path, PACKAGE)}


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
    "statement",
    [
        "from .rules import Rule",
        "from .rules.selectors import Selector",
        "from . import rules",
        "from fake.rules import Rule",
        "from fake import rules",
        "import fake.rules",
        "import fake.rules as r",
        "def f():\n    from .rules import Rule",
        "if TYPE_CHECKING:\n    from .rules import Rule",
        "from .fans import fan",
        "from . import __version__",
        "import fake",
    ],
)
def test_the_floor_check_can_fail(tmp_path: Path, statement: str) -> None:
    files = {"rules/__init__.py": "", "rules/selectors.py": "", "fans.py": "", "sampling.py": statement}
    fake = write_package(tmp_path / "fake", files)
    (violation,) = floor_violations(fake, {"rules": 5, "fans": 1, "sampling": 1})
    assert violation.startswith("fake/sampling.py:")


def test_the_floor_check_resolves_relative_imports_by_depth(tmp_path: Path) -> None:
    files = {
        "errors.py": "",
        "fills/__init__.py": "from .normal import Normal\nfrom ..errors import ConfigError",
        "fills/normal.py": "from . import base\nfrom ..rules import Rule\nfrom .. import errors, rules",
        "fills/base.py": "import torch\nfrom fake.errors import ConfigError",
        "_rules.py": "from .fills.normal import Normal",
    }
    fake = write_package(tmp_path / "fake", files)
    assert floor_violations(fake, {"errors": 0, "fills": 2, "rules": 5}) == [
        "fake/fills/normal.py:2: fills (floor 2) imports rules (5)",
        "fake/fills/normal.py:3: fills (floor 2) imports rules (5)",
    ]


def test_a_part_without_a_floor_is_told_to_get_one(tmp_path: Path) -> None:
    fake = write_package(tmp_path / "fake", {"attic.py": ""})
    (violation,) = floor_violations(fake, {})
    assert "'attic' has no floor; give it one in the table of docs/design.md" in violation


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
