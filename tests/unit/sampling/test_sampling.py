"""Bits by their definition, floats by theirs, and that neither pieces, threads, layouts nor dtypes change them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoinit import ConfigTypeError, sampling
from autoinit.sampling import Key, NormalTransform, Sampler, Transform, UniformTransform, derive_key, truncated_normal
from autoinit.sampling.keys import BITS_VERSION
from autoinit.sampling.mixing import GAMMA, MULTIPLIER, scattered, scattered_number, signed
from autoinit.sampling.sampler import BLOCK, CPU_PIECE, slabs
from autoinit.sampling.transforms import within
from autoinit.sampling.truncation import float32
from tests.processes import Interpreter

CPU = torch.device("cpu")
KEY = derive_key(0, 0, "layer1.0.conv1.weight")
INF = math.inf
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64]
MASK = (1 << 64) - 1

TRANSFORMS = [
    UniformTransform(-1.0, 1.0),
    UniformTransform(0.1, 0.7),
    NormalTransform(0.0, 1.0),
    NormalTransform(0.5, 0.02),
    truncated_normal(0.0, 0.02, -0.04, 0.04),
    truncated_normal(1.0, 2.0, -1.0, INF),
    truncated_normal(0.0, 1.0, 8.0, 9.0),
    truncated_normal(0.0, 1.0, -INF, -40.0),
]

keys = st.builds(Key, st.integers(0, MASK), st.integers(0, MASK))
transforms = st.sampled_from(TRANSFORMS)


def draw(transform: Transform, count: int, key: Key = KEY, piece: int | None = None) -> Tensor:
    out = torch.empty(count)
    Sampler(CPU, piece).draw_into(out, key, transform)
    return out


def transformed(transform: Transform, bits: list[int] | Tensor) -> Tensor:
    """A formula on given bits, extreme ones for example."""
    source = torch.as_tensor(bits, dtype=torch.int32).clone()
    out = torch.empty(len(source))
    transform(source, out)
    return out


@pytest.fixture
def threads() -> Iterator[None]:
    had = torch.get_num_threads()
    yield
    torch.set_num_threads(had)


# Bits


def splitmix64(state: int) -> int:
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def defined_bits(key: Key, start: int, count: int) -> list[int]:
    """The definition of the bits in Python's integers."""
    found = []
    for index in range(start, start + count):
        block, place = divmod(index >> 1, BLOCK)
        scatter = splitmix64(block * GAMMA & MASK)
        z = (splitmix64(place * GAMMA & MASK) * ((key.twist + scatter) | 1) + key.offset + scatter) & MASK
        z = ((z ^ (z >> 32)) * MULTIPLIER) & MASK
        z ^= z >> 32
        found.append(signed((z >> 32 if index & 1 else z) << 32) >> 32)
    return found


starts = st.integers(0, 1 << 40) | st.builds(
    lambda block, step: max(0, 2 * BLOCK * block + step), st.integers(0, 5), st.integers(-300, 300)
)


@given(key=keys, start=starts, count=st.integers(0, 300))
def test_bits_are_those_of_the_definition(key: Key, start: int, count: int) -> None:
    assert Sampler(CPU).bits(key, start, count).tolist() == defined_bits(key, start, count)


def test_the_table_is_the_published_splitmix64() -> None:
    # The first outputs for seed 1234567, as in the test vectors of its many other implementations.
    numbers = [signed(1234567 * pow(GAMMA, -1, 1 << 64) + number) for number in range(1, 6)]
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    expected.append(16408922859458223821)
    assert [word & MASK for word in scattered(torch.tensor(numbers)).tolist()] == expected
    assert [scattered_number(number) for number in numbers] == expected


def test_the_definition_has_not_changed() -> None:
    # A number that changes here changes every value that users have: raise VERSION, keep the old ones.
    assert (sampling.VERSION, BITS_VERSION) == (2, 1)
    assert Key(3472011270063918362, 7356821435982006733) == KEY
    assert derive_key(-5, 3, "ü.weight", 2) == Key(11979428042695225693, 174872577626257201)
    assert Sampler(CPU).bits(KEY, 0, 4).tolist() == [650031058, -1915159662, 1111045657, -955532803]
    assert Sampler(CPU).bits(KEY, 2**33 + 1, 2).tolist() == [1442462347, 1049036205]


@pytest.mark.parametrize(
    ("transform", "values", "values_of_version_1"),
    [
        (UniformTransform(-1, 1), [0.30269429087638855, -0.891815721988678, 0.5173709392547607], ...),
        (
            NormalTransform(0, 1),
            [0.388960063457489, -1.6064079999923706, 0.7020803093910217],
            [0.38895997405052185, -1.6064077615737915, 0.702080249786377],
        ),
        (
            truncated_normal(0, 1, -2, 2),
            [0.37040817737579346, -1.4439175128936768, 0.664813756942749],
            [0.37040814757347107, -1.4439175128936768, 0.6648138165473938],
        ),
        (truncated_normal(0, 1, -1, 3), [0.5411081910133362, -0.8270922899246216, 0.827231764793396], ...),
        (
            truncated_normal(0, 1, 8, 9),
            [8.128695487976074, 8.006842613220215, 8.173161506652832],
            [8.128694534301758, 8.006843566894531, 8.173160552978516],
        ),
        (truncated_normal(0, 1, -INF, -40), [-40.01070785522461, -40.07281494140625, -40.006900787353516], ...),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_have_not_changed(transform: Transform, values: list[float], values_of_version_1: list[float]) -> None:
    assert draw(transform, 3).tolist() == values
    old = values if values_of_version_1 is ... else values_of_version_1
    sampler, outs = Sampler(CPU, version=1), [torch.empty(3) for _ in range(3)]
    sampler.draw_into(outs[0], KEY, transform)
    sampler.draw_each(outs[1:], [KEY, KEY], [transform] * 2)
    # Another machine's erfinv may differ in the last digit.
    for out in outs:
        torch.testing.assert_close(out, torch.tensor(old), rtol=3e-7, atol=0)


# Slices, pieces, threads, layouts, dtypes


@given(transform=transforms, start=st.integers(0, 2500), count=st.integers(0, 1500), piece=st.integers(1, 3000))
def test_a_slice_is_the_slice_of_the_whole_in_pieces_of_any_size(
    transform: Transform, start: int, count: int, piece: int
) -> None:
    whole = draw(transform, 4000, piece=piece)
    part = transformed(transform, Sampler(CPU).bits(KEY, start, count))
    assert torch.equal(part, whole[start : start + count])


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_nothing(transform: Transform) -> None:
    counts = [1, 3 * CPU_PIECE + 12345, 1000] if not isinstance(transform, sampling.TailTransform) else [100_001]
    bits = Sampler(CPU).bits(KEY, 0, max(counts)).clone()
    torch.set_num_threads(1)
    alone = transformed(transform, bits)
    for number, use_kernel in itertools.product((2, 3, 7), (True, False)):
        torch.set_num_threads(number)
        outs = [torch.empty(count) for count in counts]
        Sampler(CPU, use_kernel=use_kernel).draw_each(outs, [KEY] * len(outs), [transform] * len(outs))
        assert all(torch.equal(out, alone[: len(out)]) for out in outs)
        assert torch.get_num_threads() == number
    assert torch.equal(transformed(transform, bits), alone)


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_is_put_back_after_an_error() -> None:
    class Failing(UniformTransform):
        def __call__(self, bits: Tensor, out: Tensor) -> None:
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError

    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        Sampler(CPU, use_kernel=False).draw_into(torch.empty(5000), KEY, Failing(0.0, 1.0))
    assert torch.get_num_threads() == 2


@st.composite
def layouts(take, dtype: torch.dtype) -> Tensor:
    """A tensor of NaN with some shape, some order of axes in memory, and steps between elements."""
    shape = take(st.lists(st.integers(0, 5), max_size=4))
    order = take(st.permutations(range(len(shape))))
    steps = take(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    storage = torch.full([shape[axis] * steps[axis] for axis in order], math.nan, dtype=dtype)
    back = sorted(range(len(order)), key=order.__getitem__)
    return storage.permute(back)[tuple(slice(None, None, step) for step in steps)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(transform=transforms, data=st.data(), piece=st.integers(1, 400), use_kernel=st.booleans())
def test_neither_layout_nor_dtype_nor_other_tensors_change_values(
    dtype: torch.dtype, transform: Transform, data: st.DataObject, piece: int, use_kernel: bool
) -> None:
    tensors = data.draw(st.lists(layouts(dtype), min_size=1, max_size=8))
    keys, strides = [derive_key(0, 0, str(index)) for index in range(len(tensors))], [each.stride() for each in tensors]
    Sampler(CPU, piece, use_kernel=use_kernel).draw_each(tensors, keys, [transform] * len(keys))
    for tensor, key, stride in zip(tensors, keys, strides, strict=True):
        expected = draw(transform, tensor.numel(), key).to(dtype)  # Rounded once, from float32.
        found = tensor.clone(memory_format=torch.contiguous_format).view(-1)
        assert torch.equal(found.view(torch.uint8), expected.view(torch.uint8))
        memory = tensor.as_strided((tensor.untyped_storage().nbytes() // dtype.itemsize,), (1,), 0)
        assert tensor.stride() == stride and memory.float().isnan().logical_not().sum() == tensor.numel()


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_the_default_device_changes_nothing(transform: Transform) -> None:
    outs = [torch.empty(9) for _ in range(3)]
    with torch.device("meta"):
        Sampler(CPU).draw_into(outs[0], KEY, transform)
        Sampler(CPU, use_kernel=False).draw_each(outs[1:], [KEY] * 2, [transform] * 2)
    assert all(torch.equal(out, draw(transform, 9)) for out in outs)


@given(shape=st.lists(st.integers(0, 6), max_size=4), limit=st.integers(1, 30))
def test_slabs_tile_a_tensor_in_row_major_order(shape: list[int], limit: int) -> None:
    tensor = torch.arange(math.prod(shape)).view(shape)
    tiles = list(slabs(tensor, limit))
    assert all(1 <= slab.numel() <= limit for _, slab in tiles)
    assert all(slab.flatten().tolist() == list(range(start, start + slab.numel())) for start, slab in tiles)
    assert sum(slab.numel() for _, slab in tiles) == tensor.numel()


# Keys and seeds


@given(seed=st.integers(), root=st.integers(0, 99), fqn=st.text(), stream=st.integers(0, 9))
@example(-1, 0, 'a", 0\ud800\x00', 0)
def test_a_key_is_the_hash_of_a_json_list(seed: int, root: int, fqn: str, stream: int) -> None:
    text = json.dumps(["autoinit", 1, seed, root, fqn, stream])
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
    offset, twist = struct.unpack("<QQ", digest)
    assert derive_key(seed, root, fqn, stream) == Key(offset, twist)
    assert derive_key(seed, root, fqn) == derive_key(seed, root, fqn, 0)


@pytest.mark.parametrize("seed", [7, -1, 2**70, np.int64(7), np.uint8(7), torch.tensor(7)], ids=repr)
def test_any_integer_is_a_seed(seed: object) -> None:
    checked = sampling.check_seed(seed)
    assert type(checked) is int
    assert checked == seed


@pytest.mark.parametrize(
    "seed", [True, 7.0, "7", [7], np.float32(7), torch.tensor(7.0), torch.tensor([7, 8])], ids=repr
)
def test_nothing_else_is(seed: object) -> None:
    with pytest.raises(ConfigTypeError, match=r"^seed=.* must be an integer or None\.$") as caught:
        sampling.check_seed(seed)
    assert caught.value.origin == "seed"
    assert sampling.check_seed(None) is None


def test_a_fresh_seed_is_from_the_default_generator_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    first, second = sampling.fresh_seed(), sampling.fresh_seed()
    torch.manual_seed(7)
    # There is no process group, so that any collective would raise.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with torch.device("meta"):
        assert sampling.fresh_seed() == first != second
    assert 0 <= first < 1 << 63


# Uniform


def ends(transform: Transform) -> tuple[float, float]:
    found = transformed(transform, [-(1 << 31), -1, 0, 255, 256, (1 << 31) - 1])
    assert found.diff().min() >= 0
    return float(found[0]), float(found[-1])


bounds = st.floats(-3.4e38, 3.4e38, allow_nan=False) | st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def intervals(take) -> tuple[float, float]:
    """Two floats in order: unrelated ones, neighbours, and any distance apart."""
    low = take(bounds)
    high = take(bounds | st.floats(-45, 38).map(lambda exponent: low + 10.0**exponent) | st.just(low))
    low, high = sorted((low, high))
    return low, min(high, 3.4e38)


@given(interval=intervals())
@example((0.0, 1e-45))
@example((-1e-45, 1e-45))
@example((1e-45, 1e-37))
@example((2.2462022962775e-36, 2.2854122937348102e-36))
@example((-2.7e-42, 1.8e-38))
@example((1.0, 1.0 + 2.0**-23))
@example((0.1, 0.1 + 1e-12))
@example((-3.4028234e38, 3.4028234e38))
@example((3.40282e38, 3.4028234e38))
@example((5.0, 5.0))
def test_uniform_values_never_leave_the_interval_and_reach_its_ends(interval: tuple[float, float]) -> None:
    low, high = map(float32, interval)
    bottom, top = ends(UniformTransform(*interval))
    assert low <= bottom <= top <= high
    # Short of the ends by no more than a few units in the last place, of the bounds or of the 24 bits.
    slack = 2.0**-21 * max(abs(low), abs(high)) + 2.0**-147
    assert bottom - low <= slack
    assert high - top <= slack


def by_steps(low: float, high: float) -> tuple[float, float] | None:
    """Half width and middle as they are defined, step by step; None if it takes many steps."""
    low, high = float32(low), float32(high)
    half, middle = float32((high - low) / 2), float32(low / 2 + high / 2)
    for _ in range(5_000):
        if low <= float32(middle - half) <= float32(middle + half) <= high:
            return half, middle
        half = min(float32(half * (1 - 2.0**-23)), max(half - 2.0**-149, 0.0))
    return None


def nth(number: float, steps: int) -> float:
    """The float32 so many numbers further from 0."""
    return float((np.float32(number).view(np.int32) + np.int32(steps)).view(np.float32))


@st.composite
def intervals_at_powers_of_two(take) -> tuple[float, float]:
    """Intervals whose half width is near a power of two, or in the middle of two: there the steps change."""
    exponent = take(st.integers(-149, 100))
    near = nth(2.0**exponent, take(st.integers(-min(3, max(exponent + 149, 0)), 3)))
    width = int(2 ** take(st.integers(0, 21)) * take(st.sampled_from([1, 1.25, 1.5]))) + take(st.integers(0, 5))
    far = take(st.sampled_from([nth(near, width), -near, -near * 2.0**-20, near * 2.0**-9]))
    low, high = sorted((near, far))
    return take(st.sampled_from([(low, high), (-high, -low)]))


@settings(max_examples=20 * settings.default.max_examples)
@given(interval=intervals() | intervals_at_powers_of_two())
@example((1.0, nth(1.0, 2**20 + 1)))
@example((-70368752566272.0, -43980460916736.0))
@example((2.3014298196358778e-38, 3.537924093908689e-38))
def test_half_widths_are_those_found_step_by_step(interval: tuple[float, float]) -> None:
    expected = by_steps(*interval)
    if expected is not None:
        assert within(*interval) == expected


def test_half_widths_millions_of_steps_away_are_found_at_once() -> None:
    assert within(1.0, 1.0 + 2.0**-23) == (2.0**-25, 1.0)  # As the steps found it, in four seconds.


def test_a_subnormal_step_keeps_the_distribution_uniform() -> None:
    # Half the width times 2**-23 would be a subnormal with a handful of digits.
    grid = torch.arange(-(1 << 31), 1 << 31, 1 << 20, dtype=torch.int64).to(torch.int32)
    values = transformed(UniformTransform(0.0, 1e-36), grid).double() / 1e-36
    torch.testing.assert_close(values, torch.linspace(0, 1, 4097, dtype=torch.float64)[:-1], atol=1e-6, rtol=0)


@given(value=st.floats(allow_nan=False))
def test_float32_is_the_nearest(value: float) -> None:
    with np.errstate(over="ignore"):
        assert float32(value) == float(np.float32(value))


# Memory


PEAK = """
    import resource, sys, torch
    from autoinit.sampling import *

    sampler, key = Sampler(torch.device("cpu")), derive_key(0, 0, "w")
    for transform in (UniformTransform(0, 1), NormalTransform(0, 1), truncated_normal(0, 1, -2, 2)):
        sampler.draw_into(torch.empty(1 << 19), key, transform)
        sampler.draw_into(torch.empty(1 << 19, dtype=torch.bfloat16), key, transform)
        for target in (torch.zeros(1 << 25), torch.zeros(1 << 12, 1 << 14).bfloat16().t()):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            sampler.draw_into(target, key, transform)
            # Targets have 128 MiB; one more of them, or a float32 of one, would be 131,072 KiB.
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_384
"""


@pytest.mark.slow
def test_drawing_needs_the_memory_of_a_piece(interpreter: Interpreter) -> None:
    interpreter.check(PEAK)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_no_temporary_is_larger_than_a_piece(transform: Transform) -> None:
    largest = SimpleNamespace(numel=0)
    alone = (torch.empty(8_200), torch.empty(100, 82).t(), torch.empty(8_200, dtype=torch.bfloat16))
    targets = [*([out] for out in alone), [torch.empty(7) for _ in range(3000)]]

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.untyped_storage()._cdata not in known:
                largest.numel = max(largest.numel, result.numel())
            return result

    for outs in targets:
        known = {out.untyped_storage()._cdata for out in outs}
        with Watch():
            Sampler(CPU, piece=4096, use_kernel=False).draw_each(outs, [KEY] * len(outs), [transform] * len(outs))
    assert 0 < largest.numel <= 2 * 4096 + 8
