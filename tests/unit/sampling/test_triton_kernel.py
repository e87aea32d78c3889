"""The Triton kernel gives bitwise what torch's operators give: interpreted on the CPU, and compiled on a GPU.

`make triton` runs it interpreted; `make gpu` on a GPU. Triton is not among the packages of `make test`: it is 1 GB.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
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
    derive_key,
    truncated_normal,
)
from autoinit.sampling.draws import Draw
from autoinit.sampling.regions import row_major
from autoinit.sampling.sampler import BLOCK
from tests.unit.sampling.test_c_kernel import CPU, DTYPES, KEY, TRANSFORMS, by_operators, same_bits, starts, transforms
from tests.unit.sampling.test_regions import empty_for, regions

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if importlib.util.find_spec("triton") is None or not (IS_INTERPRETED or torch.cuda.is_available()):
    pytest.skip("`make triton` runs it interpreted, `make gpu` on a GPU", allow_module_level=True)

triton_kernel = importlib.import_module("autoinit.sampling.triton_kernel")
TritonKernel, WORDS = triton_kernel.TritonKernel, triton_kernel.WORDS

DEVICE = torch.device("cpu" if IS_INTERPRETED else "cuda")
ROOT = Path(__file__).parents[3]


def drawn(out: Tensor, transform: Transform, first: int = 0, steps: tuple[int, ...] | None = None) -> Tensor:
    moved = out.to(DEVICE)
    draw = Draw(moved, KEY, transform, first, steps or row_major(out.shape))
    assert TritonKernel().draw([draw]) == []
    return moved.cpu()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_tensor_of_many_programs(transform: Transform, dtype: torch.dtype) -> None:
    count = 40 * WORDS + 123
    right = by_operators(torch.empty(count, dtype=dtype), transform)
    assert same_bits(drawn(torch.empty(count, dtype=dtype), transform), right)


@given(transform=transforms, first=starts, count=st.integers(1, 5000))
def test_any_range(transform: Transform, first: int, count: int) -> None:
    right = torch.empty(count)
    transform(Sampler(CPU).bits(KEY, first, count), right)
    assert same_bits(drawn(torch.empty(count), transform, first), right)


@given(region=regions(), transform=transforms, dtype=st.sampled_from(DTYPES), turned=st.booleans())
@example(Region.of_ranges((5, 7), [[range(5)], [range(1, 4)]]), TRANSFORMS[3], torch.float32, False)
def test_any_region_in_any_layout(region: Region, transform: Transform, dtype: torch.dtype, turned: bool) -> None:
    right, out = (empty_for(region, dtype, turned, device) for device in (CPU, DEVICE))
    Sampler(CPU, use_kernel=False).draw_region(right, KEY, transform, region)
    draws = [Draw(view, KEY, transform, first, steps) for view, first, steps in region.blocks(out)]
    left = TritonKernel().draw(draws)
    assert all(len(draw.axes) > triton_kernel.MOST_AXES for draw in left)
    if not left:
        assert same_bits(out.cpu(), right)


def test_many_tensors_of_several_distributions_and_dtypes() -> None:
    draws, rights = [], []
    for number in range(60):
        transform, dtype = TRANSFORMS[number % 3], DTYPES[number % 2]
        key, size = derive_key(0, 0, f"weight{number}"), (number * 37 % 50, number % 4)
        draws.append(Draw(torch.empty(size, dtype=dtype, device=DEVICE), key, transform, 0, row_major(size)))
        rights.append(torch.empty(size, dtype=dtype))
        Sampler(CPU, use_kernel=False).draw_into(rights[-1], key, transform)
    assert TritonKernel().draw(draws) == []
    assert all(same_bits(draw.out.cpu(), right) for draw, right in zip(draws, rights, strict=True))


def test_nothing_but_the_tensor_is_written() -> None:
    memory = torch.full((4096,), 7.0, device=DEVICE)
    inner = memory[1001:3000]
    assert TritonKernel().draw([Draw(inner, KEY, NormalTransform(0.0, 1.0), 2 * BLOCK - 999, (1,))]) == []
    assert bool((memory[:1001] == 7).all()) and bool((memory[3000:] == 7).all())
    assert not bool((inner == 7).any())


def test_what_it_cannot_do_is_left() -> None:
    transform, steps = UniformTransform(0.0, 1.0), row_major((2,) * 12)
    draws = [
        Draw(torch.empty(4, dtype=torch.float64, device=DEVICE), KEY, transform, 0, (1,)),
        Draw(torch.empty(1, device=DEVICE).expand(4), KEY, transform, 0, (1,)),
        Draw(torch.empty(4, device=DEVICE), KEY, truncated_normal(0.0, 1.0, 20.0, 21.0), 0, (1,)),
        Draw(
            torch.empty((2,) * 12, device=DEVICE).permute(*range(1, 12, 2), *range(0, 12, 2)), KEY, transform, 0, steps
        ),
    ]
    assert list(map(id, TritonKernel().draw(draws))) == list(map(id, draws))


@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter's errors are not Triton's")
def test_where_triton_fails_the_operators_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(triton_kernel, "_launch", fail)
    kernel, draw = TritonKernel(), Draw(torch.empty(4, device=DEVICE), KEY, UniformTransform(0.0, 1.0), 0, (1,))
    with pytest.warns(AutoInitWarning, match="Failed to find C compiler"):
        assert kernel.draw([draw]) == [draw]
    assert kernel.draw([draw]) == [draw]


COMPILE = """
import itertools
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from autoinit.sampling import triton_kernel as of
numbers = dict(jobs="*i64", owners="*i32", first="i64", lower_tail="i64", upper_tail="i64")
for arch, out, is_normal, axes in itertools.product((80, 90), of.OUTS, (True, False), (1, of.MOST_AXES)):
    constants = dict(OUT=out, IS_NORMAL=is_normal, HAS_TAIL=True, HAS_MORE=True, HAS_MEAN=True, HAS_BOUNDS=True)
    constants |= dict(AXES=axes, WORDS=of.WORDS, COLUMNS=of.COLUMNS)
    names = of._draw.arg_names
    signature = {name: "constexpr" if name in constants else numbers.get(name, "fp32") for name in names}
    source = ASTSource(of._draw, signature, constexprs={(names.index(name),): constants[name] for name in constants})
    print(triton.compile(source, GPUTarget("cuda", arch, 32), of.OPTIONS).asm["ptx"])
"""


def test_compiled_each_operation_rounds_to_the_nearest_and_none_is_fused(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": paths, "TRITON_CACHE_DIR": str(tmp_path)}
    env.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    operations = set(re.findall(r"\b((?:\w+\.)+f(?:32|16)(?:\.\w+)?)\b", done.stdout))
    arithmetic = {
        name for name in operations if not name.startswith(("min.", "max.", "mov.", "setp.", "selp.", "neg."))
    }
    assert arithmetic == {
        "add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32",
        "cvt.rn.f32.s32", "cvt.rn.f32.u32", "cvt.rn.f32.u64", "cvt.rn.f16.f32",
    }  # fmt: skip
