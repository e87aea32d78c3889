"""Tables as text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from autoinit.tables import Table

FULL = Table(
    title="Plan of Net",
    columns=("parameter", "fill", "beat"),
    rows=(("conv.weight", "Normal(mean=0, std=0.1)", ""), ("conv.bias", "Constant(value=0)", "init_cfg[0]")),
    caption="2 of 2 parameters covered",
)


def test_columns_are_aligned_and_no_line_ends_in_a_space() -> None:
    assert str(FULL).split("\n") == [
        "Plan of Net",
        "parameter    fill                     beat",
        "-----------  -----------------------  -----------",
        "conv.weight  Normal(mean=0, std=0.1)",
        "conv.bias    Constant(value=0)        init_cfg[0]",
        "2 of 2 parameters covered",
    ]


def test_without_rows_title_or_caption() -> None:
    assert str(Table(title="", columns=("a", "bcd"), rows=())) == "a  bcd\n-  ---"


def test_a_row_of_another_length_is_no_table() -> None:
    with pytest.raises(ValueError, match="zip"):
        str(Table(title="t", columns=("a", "b"), rows=(("1",),)))


@pytest.mark.parametrize("names", ["init_cfg[/]", "[red]x", "[u]/a.pth"])
def test_rich_prints_the_same_text_and_takes_no_markup_from_names(names: str) -> None:
    table = Table(title=names, columns=(names,), rows=((names,),), caption=names)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table)
    assert console.file.getvalue() == f"{table}\n"


def test_tables_are_values() -> None:
    assert Table(title="t", columns=("a",), rows=(("1",),)) == Table(title="t", columns=("a",), rows=(("1",),))
