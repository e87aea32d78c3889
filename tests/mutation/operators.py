"""Mutants: a module's syntax tree with one operator, number, condition, result or statement changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SWAPS: dict[type[ast.AST], type[ast.AST]] = dict(
    (
        *((ast.Lt, ast.LtE), (ast.LtE, ast.Lt), (ast.Gt, ast.GtE), (ast.GtE, ast.Gt), (ast.Eq, ast.NotEq)),
        *((ast.NotEq, ast.Eq), (ast.Is, ast.IsNot), (ast.IsNot, ast.Is), (ast.In, ast.NotIn), (ast.NotIn, ast.In)),
        *((ast.And, ast.Or), (ast.Or, ast.And), (ast.Add, ast.Sub), (ast.Sub, ast.Add), (ast.Mult, ast.Div)),
        *((ast.Div, ast.Mult), (ast.FloorDiv, ast.Mult), (ast.Mod, ast.FloorDiv), (ast.Pow, ast.Mult)),
        *((ast.LShift, ast.RShift), (ast.RShift, ast.LShift), (ast.BitAnd, ast.BitOr), (ast.BitOr, ast.BitAnd)),
        (ast.BitXor, ast.BitOr),
    )
)

Place = Callable[[ast.AST], object]
"""Puts a node where another stands in its module's tree."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change, of a line of code from 1 on, in a file by its path from the root of the repository."""

    path: str
    line: int
    code: str
    module: ast.Module
    node: ast.AST
    place: Place
    replacement: ast.AST

    @property
    def before(self) -> str:
        return _shown(self.node)

    @property
    def after(self) -> str:
        return _shown(self.replacement)

    @property
    def name(self) -> str:
        """The name in the list of equivalent mutants: it stays the same while the lines around it move."""
        return f"{self.path}: {self.code}: {self.before} -> {self.after}"

    @property
    def line_name(self) -> str:
        return f"{self.path}: {self.code}"

    @contextmanager
    def made(self) -> Iterator[ast.Module]:
        self.place(self.replacement)
        yield ast.fix_missing_locations(self.module)
        self.place(self.node)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  ->  {self.after}"


def mutants(path: Path, root: Path) -> list[Mutant]:
    text = path.read_text()
    module, lines = ast.parse(text), text.splitlines()
    found = []
    for node, place in _walk(module, lambda node: None):
        for replacement in _replacements(node):
            ast.copy_location(replacement, node)
            line: int = node.lineno  # type: ignore[attr-defined]
            where = dict(path=path.relative_to(root).as_posix(), line=line, code=lines[line - 1].strip(), module=module)
            found.append(Mutant(**where, node=node, place=place, replacement=replacement))
    return found


def _walk(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    """Nodes that may be changed: no annotation, docstring, import, message or assertion; nor the `strict` of `zip`."""
    yield node, place
    if isinstance(node, _LEFT_ALONE) or (isinstance(node, ast.keyword) and node.arg == "strict"):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        if isinstance(value, list):
            children = [(child, partial(value.__setitem__, index)) for index, child in enumerate(value)]
        else:
            children = [(value, partial(setattr, node, name))]
        for child, child_place in children:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from _walk(child, child_place)


_LEFT_ALONE = (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert, ast.Global)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in SWAPS:
            yield _with(node, ops=[SWAPS[type(operator)](), *node.ops[1:]])
        case ast.BinOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield _with(node, op=SWAPS[type(node.op)]())
        case ast.BoolOp():
            yield _with(node, op=SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.If() | ast.While():
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Return(value=ast.expr()) | ast.Yield(value=ast.expr()) if not _is_none(node.value):
            yield _with(node, value=ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(value=ast.Call() | ast.YieldFrom() | ast.Await()) | ast.Raise() | ast.Delete():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.AugAssign():
            yield ast.Pass()
    if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
        for index, generator in enumerate(node.generators):
            if generator.ifs:
                less = _with(generator, ifs=generator.ifs[1:])
                yield _with(node, generators=[*node.generators[:index], less, *node.generators[index + 1 :]])


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _shown(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:160]
