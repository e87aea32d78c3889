"""Tables as text, and through rich."""

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


def rendered(table: Table, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


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


def test_rich_shows_the_same_cells() -> None:
    text = rendered(FULL)
    for cell in (*FULL.columns, *(cell for row in FULL.rows for cell in row), FULL.title, FULL.caption):
        assert cell in text


def test_rich_takes_no_markup_from_names() -> None:
    # A checkpoint may lie in /data/[bold]/, and init_cfg[/] would be a syntax error.
    table = Table(title="T [b]", columns=("c [i]",), rows=(("init_cfg[/]",), ("[red]x",)), caption="[u]/a.pth")
    text = rendered(table)
    for cell in ("T [b]", "c [i]", "init_cfg[/]", "[red]x", "[u]/a.pth"):
        assert cell in text


def test_rich_leaves_out_a_column_in_which_nothing_stands() -> None:
    rows = (("a", "", "1"), ("b", "", ""))
    text = rendered(Table(title="t", columns=("name", "beat", "count"), rows=rows))
    assert "beat" not in text
    assert "count" in text


def test_a_narrow_terminal_folds_and_loses_nothing() -> None:
    table = Table(title="t", columns=("name",), rows=(("abcdefghijklmnopqrstuvwxyz" * 3,),))
    letters = [character for character in rendered(table, width=20) if character.isalpha()]
    assert "".join(letters).endswith("abcdefghijklmnopqrstuvwxyz" * 3)


def test_tables_are_values() -> None:
    assert Table(title="t", columns=("a",), rows=(("1",),)) == Table(title="t", columns=("a",), rows=(("1",),))
