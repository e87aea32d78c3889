"""The kernels give bitwise what torch's operators give; their absence changes nothing.

The C kernel has a variant for each instruction set. `make triton` runs the Triton kernel interpreted, and looks at what
Triton compiles; `make gpu` runs it on a GPU. Triton is not among the packages of `make test`: it is 1 GB.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from autoinit import AutoInitWarning, sampling
from autoinit.sampling import NormalTransform, Sampler, Transform, UniformTransform, derive_key, truncated_normal
from autoinit.sampling.c_kernel import VARIANTS, CKernel, kernel
from autoinit.sampling.draws import Draw
from autoinit.sampling.regions import row_major
from autoinit.sampling.sampler import BLOCK
from tests.processes import Interpreter
from tests.unit.sampling.test_regions import empty_for, regions

INF = math.inf
CPU = torch.device("cpu")
KEY = derive_key(5, 1, "weight")
ROOT = Path(__file__).parents[3]

KERNELS: dict[str, sampling.Kernel] = {}
DEVICES = {"triton": CPU}

found = kernel()
if found is not None:
    KERNELS |= {name: CKernel(found.library, name) for name in VARIANTS[: found.library.autoinit_variants()]}
needs_kernel = pytest.mark.skipif(found is None, reason="no kernel was built: there is no C compiler")

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if importlib.util.find_spec("triton") is not None and (IS_INTERPRETED or torch.cuda.is_available()):
    from autoinit.sampling import triton_kernel

    KERNELS["triton"] = triton_kernel.TritonKernel()
    DEVICES = {"triton": torch.device("cpu" if IS_INTERPRETED else "cuda")}
needs_triton = pytest.mark.skipif(
    "triton" not in KERNELS, reason="`make triton` runs it interpreted, `make gpu` on a GPU"
)

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
kernels = st.sampled_from([*KERNELS] or [""])
every_kernel = pytest.mark.parametrize("name", KERNELS)
starts = st.integers(0, 1 << 40) | st.integers(-300, 300).map(lambda step: 2 * BLOCK + step)


def by_operators(out: Tensor, transform: Transform) -> Tensor:
    Sampler(CPU, use_kernel=False).draw_into(out, KEY, transform)
    return out


def same_bits(one: Tensor, other: Tensor) -> bool:
    number = torch.int32 if one.dtype == torch.float32 else torch.int16
    return torch.equal(one.cpu().contiguous().view(number), other.cpu().contiguous().view(number))


def drawn(name: str, out: Tensor, transform: Transform, first: int = 0) -> Tensor:
    moved = out.to(DEVICES.get(name, CPU))
    assert KERNELS[name].draw([Draw(moved, KEY, transform, first, row_major(out.shape))]) == []
    return moved


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_large_tensor(transform: Transform, dtype: torch.dtype, name: str) -> None:
    count = 20_603 if name == "triton" else 2 * BLOCK + 12_345
    right = by_operators(torch.empty(count, dtype=dtype), transform)
    assert same_bits(drawn(name, torch.empty(count, dtype=dtype), transform), right)


@pytest.mark.skipif(not KERNELS, reason="no kernel")
@given(transform=transforms, name=kernels, first=starts, count=st.integers(1, 5000))
def test_any_range(transform: Transform, name: str, first: int, count: int) -> None:
    right = torch.empty(count)
    transform(Sampler(CPU).bits(KEY, first, count), right)
    assert same_bits(drawn(name, torch.empty(count), transform, first), right)


@every_kernel
@given(region=regions(), transform=transforms, dtype=st.sampled_from(DTYPES), turned=st.booleans())
@example(sampling.Region.of_ranges((5, 7), [[range(5)], [range(1, 4)]]), TRANSFORMS[3], torch.float32, False)
def test_any_region_in_any_layout(
    name: str, region: sampling.Region, transform: Transform, dtype: torch.dtype, turned: bool
) -> None:
    right, out = (empty_for(region, dtype, turned, device) for device in (CPU, DEVICES.get(name, CPU)))
    Sampler(CPU, use_kernel=False).draw_region(right, KEY, transform, region)
    left = KERNELS[name].draw([Draw(view, KEY, transform, first, steps) for view, first, steps in region.blocks(out)])
    most = sys.modules[type(KERNELS[name]).__module__].MOST_AXES
    assert all(len(draw.axes) > most for draw in left)
    assert left or same_bits(out, right)


@every_kernel
def test_many_tensors_of_several_distributions_and_dtypes(name: str) -> None:
    draws, rights = [], []
    for number in range(60):
        transform, dtype = TRANSFORMS[number % 3], DTYPES[number % 2]
        key, size = derive_key(0, 0, f"weight{number}"), (number * 37 % 50, number % 4)
        out = torch.empty(size, dtype=dtype, device=DEVICES.get(name, CPU))
        draws.append(Draw(out, key, transform, 0, row_major(size)))
        rights.append(torch.empty(size, dtype=dtype))
        Sampler(CPU, use_kernel=False).draw_into(rights[-1], key, transform)
    assert KERNELS[name].draw(draws) == []
    assert all(same_bits(draw.out, right) for draw, right in zip(draws, rights, strict=True))


@every_kernel
def test_nothing_but_the_tensor_is_written(name: str) -> None:
    memory = torch.full((4096,), 7.0, device=DEVICES.get(name, CPU))
    inner = memory[1001:3000]
    assert KERNELS[name].draw([Draw(inner, KEY, TRANSFORMS[3], 2 * BLOCK - 999, (1,))]) == []
    assert bool((memory[:1001] == 7).all()) and bool((memory[3000:] == 7).all())
    assert not bool((inner == 7).any())


def without_memory(out: Tensor, left: int) -> Tensor:
    out.untyped_storage().resize_(left)
    return out


LEFT: dict[str, Callable[[torch.device], Tensor]] = {
    "float64": lambda device: torch.empty(3, dtype=torch.float64, device=device),
    "expanded": lambda device: torch.empty(1, device=device).expand(3),
    "overlapping": lambda device: torch.empty(6, device=device).as_strided((3, 2), (1, 1)),
    "far tail": lambda device: torch.empty(3, device=device),
    "freed": lambda device: without_memory(torch.empty(1 << 12, device=device), 0),
    "cut": lambda device: without_memory(torch.empty(2, 8, device=device)[1], 40),
    "ten axes": lambda device: torch.empty((3,) * 10, device=device).permute(*range(9, -1, -1))[(slice(0, 3, 2),) * 10],
}


@every_kernel
@pytest.mark.parametrize("case", LEFT)
def test_what_it_leaves_to_torchs_operators(name: str, case: str) -> None:
    transform = truncated_normal(0.0, 1.0, 40.0, INF) if case == "far tail" else TRANSFORMS[3]
    out = LEFT[case](DEVICES.get(name, CPU))
    draw = Draw(out, KEY, transform, 0, row_major(out.shape))
    left = KERNELS[name].draw([draw])
    assert len(left) == 1 and left[0] is draw
    if case == "ten axes":
        Sampler(CPU).draw_into(out := out.cpu(), KEY, transform)
        assert same_bits(out, by_operators(torch.empty(out.shape), transform))


@needs_kernel
def test_the_c_kernel_leaves_other_devices() -> None:
    draw = Draw(torch.empty(3, device="meta"), KEY, TRANSFORMS[3], 0, (1,))
    assert found is not None and found.draw([draw])[0] is draw


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_the_numbers_of_half_precision_that_have_few_digits(dtype: torch.dtype) -> None:
    for std in (1e-9, 1e-7, 1e-5, 30_000.0):
        out, right = torch.empty(10_000, dtype=dtype), torch.empty(10_000, dtype=dtype)
        Sampler(CPU).draw_into(out, KEY, NormalTransform(0.0, std))
        assert same_bits(out, by_operators(right, NormalTransform(0.0, std)))


@needs_kernel
def test_elements_more_than_two_gib_apart() -> None:
    whole = torch.empty(2**31 + 64, dtype=torch.bfloat16)  # Memory that is not touched is not taken.
    view, right = whole.as_strided((3, 50), (2**30, 1)), torch.empty(3, 50, dtype=torch.bfloat16)
    for name in set(VARIANTS) & {*KERNELS}:
        view.zero_()
        assert KERNELS[name].draw([Draw(view, KEY, TRANSFORMS[3], 0, (50, 1))]) == []
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
    monkeypatch.setattr(sampling.c_kernel, "LIBRARY", path)
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


# Triton


@needs_triton
@pytest.mark.skipif(IS_INTERPRETED, reason="the interpreter's errors are not Triton's")
def test_where_triton_fails_the_operators_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(triton_kernel, "_launch", fail)
    kernel, draw = (
        triton_kernel.TritonKernel(),
        Draw(torch.empty(4, device=DEVICES["triton"]), KEY, UniformTransform(0.0, 1.0), 0, (1,)),
    )
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


@needs_triton
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
