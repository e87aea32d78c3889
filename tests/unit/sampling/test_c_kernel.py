"""The C kernel gives bitwise what torch's operators give, on every instruction set; and its absence changes nothing."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from autoinit import AutoInitWarning
from autoinit.sampling import (
    NormalTransform,
    Region,
    Sampler,
    Transform,
    UniformTransform,
    c_kernel,
    derive_key,
    truncated_normal,
)
from autoinit.sampling.c_kernel import CKernel, kernel
from autoinit.sampling.draws import Draw
from autoinit.sampling.regions import row_major
from autoinit.sampling.sampler import BLOCK
from tests.processes import Interpreter
from tests.unit.sampling.test_regions import empty_for, regions

INF = math.inf
CPU = torch.device("cpu")
KEY = derive_key(5, 1, "weight")
ROOT = Path(__file__).parents[3]

found = kernel()
needs_kernel = pytest.mark.skipif(found is None, reason="no kernel was built: there is no C compiler")
VARIANTS = (
    [CKernel(found.library, name) for name in c_kernel.VARIANTS[: found.library.autoinit_variants()]]
    if found is not None
    else []
)
FIRST = VARIANTS[0] if VARIANTS else None

TRANSFORMS = [
    UniformTransform(-1.0, 1.0),
    UniformTransform(0.1, 0.7),
    UniformTransform(0.0, 1e-33),
    NormalTransform(0.0, 1.0),
    NormalTransform(0.5, 0.02),
    truncated_normal(0.0, 0.02, -0.04, 0.04),
    truncated_normal(0.0, 1.0, -4.0, 4.0),
    truncated_normal(1.0, 2.0, -1.0, INF),
    truncated_normal(0.0, 1.0, -0.1, 3.0),
    truncated_normal(0.0, 1.0, 1.5, INF),
    truncated_normal(0.0, 1.0, -INF, -8.0),
    truncated_normal(-3.0, 0.5, -2.0, 8.0),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]

transforms = st.sampled_from(TRANSFORMS)
variants = st.sampled_from(VARIANTS or [FIRST])
starts = st.integers(0, 1 << 40) | st.integers(-300, 300).map(lambda step: 2 * BLOCK + step)


def by_operators(out: Tensor, transform: Transform) -> Tensor:
    Sampler(CPU, use_kernel=False).draw_into(out, KEY, transform)
    return out


def same_bits(one: Tensor, other: Tensor) -> bool:
    number = torch.int32 if one.dtype == torch.float32 else torch.int16
    return torch.equal(one.contiguous().view(number), other.contiguous().view(number))


@needs_kernel
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda kernel: kernel.variant)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_large_tensor(transform: Transform, dtype: torch.dtype, variant: CKernel) -> None:
    count = 2 * BLOCK + 12_345
    out = torch.empty(count, dtype=dtype)
    assert variant.draw([Draw(out, KEY, transform, 0, (1,))]) == []
    assert same_bits(out, by_operators(torch.empty(count, dtype=dtype), transform))


@needs_kernel
@given(transform=transforms, variant=variants, first=starts, count=st.integers(1, 5000))
def test_any_range(transform: Transform, variant: CKernel, first: int, count: int) -> None:
    out, right = torch.empty(count), torch.empty(count)
    assert variant.draw([Draw(out, KEY, transform, first, (1,))]) == []
    transform(Sampler(CPU).bits(KEY, first, count), right)
    assert same_bits(out, right)


@needs_kernel
@given(region=regions(), transform=transforms, variant=variants, dtype=st.sampled_from(DTYPES), turned=st.booleans())
@example(Region.of_ranges((5, 7), [[range(5)], [range(1, 4)]]), TRANSFORMS[3], FIRST, torch.float32, False)
def test_any_region_in_any_layout(
    region: Region, transform: Transform, variant: CKernel, dtype: torch.dtype, turned: bool
) -> None:
    outs = [empty_for(region, dtype, turned) for _ in range(2)]
    Sampler(CPU, use_kernel=False).draw_region(outs[0], KEY, transform, region)
    draws = [Draw(view, KEY, transform, first, steps) for view, first, steps in region.blocks(outs[1])]
    assert variant.draw(draws) == []
    assert same_bits(*outs)


@needs_kernel
def test_the_numbers_of_half_precision_that_have_few_digits() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        for std in (1e-9, 1e-7, 1e-5, 30_000.0):
            out, right = torch.empty(10_000, dtype=dtype), torch.empty(10_000, dtype=dtype)
            Sampler(CPU).draw_into(out, KEY, NormalTransform(0.0, std))
            assert same_bits(out, by_operators(right, NormalTransform(0.0, std)))


def without_memory(out: Tensor, left: int) -> Tensor:
    out.untyped_storage().resize_(left)
    return out


@needs_kernel
@pytest.mark.parametrize(
    ("out", "transform"),
    [
        (torch.empty(3, dtype=torch.float64), TRANSFORMS[3]),
        (torch.empty(1).expand(3), TRANSFORMS[3]),
        (torch.empty(6).as_strided((3, 2), (1, 1)), TRANSFORMS[3]),
        (torch.empty(3, device="meta"), TRANSFORMS[3]),
        (torch.empty(3), truncated_normal(0.0, 1.0, 40.0, INF)),
        (without_memory(torch.empty(1 << 12), 0), TRANSFORMS[0]),
        (without_memory(torch.empty(2, 8)[1], 40), TRANSFORMS[0]),
        (torch.empty((3,) * 10).permute(*range(9, -1, -1))[(slice(None, None, 2),) * 10], TRANSFORMS[0]),
    ],
    ids=["float64", "expanded", "overlapping", "meta", "far tail", "freed", "cut", "ten axes"],
)
def test_what_it_leaves_to_torchs_operators(out: Tensor, transform: Transform) -> None:
    draw = Draw(out, KEY, transform, 0, row_major(out.shape))
    assert found is not None and found.draw([draw]) == [draw]
    if out.dim() == 10:
        Sampler(CPU).draw_into(out, KEY, transform)
        assert same_bits(out, by_operators(torch.empty(out.shape), transform))


@needs_kernel
def test_elements_more_than_two_gib_apart() -> None:
    whole = torch.empty(2**31 + 64, dtype=torch.bfloat16)  # Memory that is not touched is not taken.
    view, right = whole.as_strided((3, 50), (2**30, 1)), torch.empty(3, 50, dtype=torch.bfloat16)
    for variant in VARIANTS:
        view.zero_()
        assert variant.draw([Draw(view, KEY, TRANSFORMS[3], 0, (50, 1))]) == []
        assert same_bits(view, by_operators(right, TRANSFORMS[3]))


@pytest.mark.parametrize("transform", TRANSFORMS[3:], ids=repr)
def test_where_subnormal_numbers_are_flushed(transform: Transform) -> None:
    outs = [torch.empty(5000) for _ in range(3)]
    Sampler(CPU).draw_into(outs[0], KEY, transform)
    torch.set_flush_denormal(True)
    try:
        Sampler(CPU).draw_into(outs[1], KEY, transform)
        by_operators(outs[2], transform)
    finally:
        torch.set_flush_denormal(False)
    assert same_bits(outs[0], outs[1]) and same_bits(outs[0], outs[2])


def test_the_default_dtype_changes_nothing() -> None:
    for transform in (*TRANSFORMS, truncated_normal(0.0, 1.0, 40.0, INF)):
        right, out = by_operators(torch.empty(3000), transform), torch.empty(3000)
        torch.set_default_dtype(torch.float64)
        try:
            by_operators(out, transform)
        finally:
            torch.set_default_dtype(torch.float32)
        assert same_bits(out, right)


@needs_kernel
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_that_was_forked_after_use(interpreter: Interpreter) -> None:
    interpreter.check(FORK)


FORK = """
import os, torch
from autoinit.sampling import NormalTransform, Sampler, derive_key

def draw():
    out = torch.empty(1 << 20)
    Sampler(torch.device("cpu")).draw_into(out, derive_key(0, 0, "w"), NormalTransform(0.0, 1.0))
    return out

torch.set_num_threads(2)
before = draw()
child = os.fork()
same = torch.equal(before, draw())
if not child:
    os._exit(not same)
assert same and os.waitpid(child, 0)[1] == 0
"""


# A library that is not there, or is another


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "_kernel.so"
    monkeypatch.setattr(c_kernel, "LIBRARY", path)
    kernel.cache_clear()
    yield path
    kernel.cache_clear()


def test_without_a_library(library: Path) -> None:
    assert kernel() is None
    out = torch.empty(1000)
    Sampler(CPU).draw_into(out, KEY, TRANSFORMS[3])
    assert same_bits(out, by_operators(torch.empty(1000), TRANSFORMS[3]))


@needs_kernel
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int autoinit_kernel_version(void) { return 1; }\nvoid autoinit_draw(void) {}", "has version 1, not 2"),
        ("int something(void) { return 2; }", "cannot be used .*The same values are drawn without it"),
        (None, "cannot be used .*The same values are drawn without it"),
    ],
    ids=["older", "another", "no library"],
)
def test_a_library_that_cannot_be_used(library: Path, source: str | None, message: str) -> None:
    code = library.with_suffix(".c")
    code.write_text(source or "")
    if source is None:
        library.write_text("no library")
    else:
        subprocess.run(["cc", "-shared", "-fPIC", str(code), "-o", str(library)], check=True)
    with pytest.warns(AutoInitWarning, match=message):
        assert kernel() is None


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build hook, which writes to a folder of its own."""
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LIBRARY", tmp_path / "_kernel.so")
    return module


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_the_package_is_built_without_the_kernel(
    compiler: str, build: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", compiler)
    data: dict[str, Any] = {"artifacts": []}
    build.Kernel().initialize("standard", data)
    assert data == {"artifacts": []} and not build.LIBRARY.exists()
    assert "No kernel: " in capfd.readouterr().err


@needs_kernel
def test_the_built_library_is_usable(build: ModuleType, library: Path) -> None:
    data: dict[str, Any] = {"artifacts": []}
    build.Kernel().initialize("standard", data)
    assert not data["pure_python"] and data["tag"].startswith("py3-none-")
    assert library == build.LIBRARY
    built, out = kernel(), torch.empty(5000)
    assert built is not None and built.draw([Draw(out, KEY, TRANSFORMS[3], 0, (1,))]) == []
    assert same_bits(out, by_operators(torch.empty(5000), TRANSFORMS[3]))
