"""Tables as text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autoinit.tables import Table

FULL = Table(
    title="Plan of Net",
    columns=("parameter", "fill", "overrides"),
    rows=(("conv.weight", "Normal(mean=0, std=0.1)", ""), ("conv.bias", "Constant(value=0)", "init_cfg[0]")),
    caption="2 of 2 parameters covered",
)


def test_columns_are_aligned_and_no_line_ends_in_a_space() -> None:
    assert str(FULL).split("\n") == [
        "Plan of Net",
        "parameter    fill                     overrides",
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


def test_a_column_without_a_cell_is_left_out() -> None:
    rows = (("a", "", "1"), ("b", "", ""))
    assert str(Table(title="", columns=("name", "none", "some"), rows=rows)).split("\n")[0] == "name  some"


@pytest.mark.parametrize("width", [50, 60, 80, 100])
def test_a_row_fits_the_width_and_names_stay_whole(width: int) -> None:
    name = "encoder.layers.11.self_attention.in_proj_weight"
    row = (name, "2304 x 768", "TruncNormal(mean=0, std=0.02, low=-0.04, high=0.04)", "init_cfg[3].override[1]")
    text = Table(title="t", columns=("parameter", "shape", "fill", "rule"), rows=(row,)).text(width)
    assert name in text
    assert max(map(len, text.split("\n"))) <= width
    assert "…" in text


def test_a_name_that_leaves_no_room_has_a_line_of_its_own() -> None:
    rows = (("a" * 50, "Constant(0)", "init_cfg"), ("b", "Constant(1)", "init_cfg"))
    lines = Table(title="", columns=("parameter", "fill", "rule"), rows=rows).text(55).split("\n")
    assert lines[2:] == ["a" * 50, "           Constant(0)  init_cfg", "b          Constant(1)  init_cfg"]


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (["a.0.w", "a.1.w", "a.2.w"], ["a.{0..2}.w x3"]),
        (["a.0", "a.1", "a.2", "a.5"], ["a.{0..2,5} x4"]),
        (["a.0.b.0", "a.0.b.1", "a.1.b.0", "a.1.b.1"], ["a.{0,1}.b.{0,1} x4"]),
        (["a.0.b.0", "a.0.b.1", "a.1.b.0"], ["a.0.b.{0,1} x2", "a.1.b.0"]),
        (["layer1.x", "layer2.x", "other"], ["layer{1,2}.x x2", "other"]),
        (["w01", "w02"], ["w01", "w02"]),
        (["{0..2}", "a"], ["{0..2}", "a"]),
    ],
)
def test_rows_that_differ_in_numbers_are_folded(names: list[str], folded: list[str]) -> None:
    table = Table(title="", columns=("name", "x"), rows=[(name, "1") for name in names]).folded()
    assert [f"{name} {count}".strip() for name, _, count in table.rows] == folded


def test_rows_that_differ_elsewhere_are_not_folded() -> None:
    rows = [("a.0", "1"), ("a.1", "2"), ("a.2", "1")]
    table = Table(title="", columns=("name", "x"), rows=rows).folded()
    assert table.rows == [("a.{0,2}", "1", "x2"), ("a.1", "2", "")]


@given(st.lists(st.text("a.01", min_size=1, max_size=5), unique=True, max_size=30))
def test_a_folded_table_stands_for_every_row_once(names: list[str]) -> None:
    table = Table(title="", columns=("name", "x"), rows=[(name, "1") for name in names]).folded()
    assert sum(int(count.removeprefix("x") or 1) for _, _, count in table.rows) == len(names)
    assert sorted(name for shown, _, _ in table.rows for name in unfolded(shown)) == sorted(names)


def unfolded(name: str) -> list[str]:
    """The names that a folded one stands for."""
    before, brace, rest = name.partition("{")
    if not brace:
        return [name]
    inside, _, after = rest.partition("}")
    numbers = [n for part in inside.split(",") for n in between(*part.split(".."))]
    return [f"{before}{n}{end}" for n in numbers for end in unfolded(after)]


def between(first: str, last: str | None = None) -> range:
    return range(int(first), int(last or first) + 1)


def test_html_has_names_as_text() -> None:
    shown = Table(title="<b>", columns=("name",), rows=(("<i>",),), caption="&")._repr_html_()
    assert "&lt;b&gt;" in shown and "&lt;i&gt;" in shown and "<i>" not in shown


@pytest.mark.parametrize("names", ["init_cfg[/]", "[red]x", "[u]/a.pth"])
def test_rich_prints_the_same_text_and_takes_no_markup_from_names(names: str) -> None:
    table = Table(title=names, columns=(names,), rows=((names,),), caption=names)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table)
    assert console.file.getvalue() == f"{table}\n"


def test_tables_are_values() -> None:
    assert Table(title="t", columns=("a",), rows=(("1",),)) == Table(title="t", columns=("a",), rows=(("1",),))


LONG_NAMES = Table(
    title="t",
    columns=("parameter", "shape", "fill", "rule"),
    rows=[
        *(
            (f"encoder.layers.encoder_layer_{n}.self_attention.out_proj.{p}", "2 x 2", "Normal(0, 0.02)", "init_cfg[0]")
            for n in range(12)
            for p in ("weight", "bias")
        ),
        ("head.weight", "2 x 2", "Normal(0, 0.02)", "init_cfg[0]"),
    ],
    optional=("shape",),
)


def test_long_folded_names_stand_under_their_prefix_on_a_narrow_terminal_only() -> None:
    table = LONG_NAMES.folded()
    assert "encoder.layers.encoder_layer_{0..11}.self_attention.out_proj.weight" in table.text(120)
    lines = table.text(80).split("\n")
    assert lines[3] == "encoder.layers.encoder_layer_{0..11}."
    assert [line.split()[0] for line in lines[4:]] == [
        "self_attention.out_proj.weight",
        "self_attention.out_proj.bias",
        "head.weight",
    ]
    assert max(map(len, lines)) <= 80


def test_optional_columns_are_left_out_before_others_are_illegible() -> None:
    text = LONG_NAMES.text(98)
    assert "shape" not in text and "Normal(0, 0.02)" in text and "init_cfg[0]" in text
    assert "shape" in LONG_NAMES.text(120)


def test_a_shape_or_count_is_left_out_before_a_cell_is_shortened() -> None:
    rows = [(f"w{index}", "64 x 10", "uniform_(a=-0.3162, b=0.3162)", "linear.py:124") for index in range(3)]
    table = Table(title="", columns=("name", "shape", "calls", "line"), rows=rows, optional=("shape",)).folded()
    assert table.text(65).split("\n")[0].split() == ["name", "shape", "calls", "line"]
    assert table.text(55).split("\n")[0].split() == ["name", "calls", "line"]
    assert "…" not in table.text(55)


def test_columns_of_measured_numbers_are_folded_to_a_range() -> None:
    rows = [("a.0", "0.5", "1 %"), ("a.1", "1e-05", "2 %"), ("a.2", "", "1 %"), ("b", "3", "")]
    table = Table(title="", columns=("name", "p", "error"), rows=rows).folded(ranges=("p", "error"))
    assert table.rows == [("a.{0..2}", "1e-05 .. 0.5", "1 % .. 2 %", "x3"), ("b", "3", "", "")]


def test_a_shortened_cell_keeps_both_ends() -> None:
    table = Table(title="", columns=("name", "rule"), rows=(("weight", "init_cfg[3].override[1]"),))
    assert table.text(24).split("\n")[2] == "weight  init_cfg…ride[1]"


def test_a_caption_is_broken_between_words_only() -> None:
    path = "/a/path/without/spaces/that/is/longer/than/the/terminal.pth"
    lines = Table(title="", columns=("a",), rows=(), caption=f"3 filled; {path}: 2 loaded").text(30).split("\n")
    assert lines[2:] == ["3 filled;", f"  {path}:", "  2 loaded"]


def test_characters_that_control_a_terminal_do_nothing() -> None:
    text = Table(title="\x1b[2J", columns=("name",), rows=(("a\nb\x07",),)).text(80)
    assert text.isascii() and "\x1b" not in text and "\x07" not in text and "a\\nb" in text


def test_rich_is_given_as_many_columns_as_it_has() -> None:
    console = Console(file=io.StringIO(), width=60, color_system=None)
    console.print(LONG_NAMES.folded())
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]
    assert lines[3] == "encoder.layers.encoder_layer_{0..11}." and max(map(len, lines)) <= 60


def test_html_keeps_the_lines_of_a_caption() -> None:
    assert "one<br>&lt;two&gt;" in Table(title="t", columns=("a",), rows=(), caption="one\n<two>")._repr_html_()


def test_html_leaves_out_empty_columns() -> None:
    assert "none" not in Table(title="", columns=("name", "none"), rows=(("a", ""),))._repr_html_()
