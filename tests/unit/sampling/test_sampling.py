"""Bits by their definition, floats by theirs, and that neither pieces, threads, layouts nor dtypes change them.

Statistical tests run on fixed seeds. The comment beside each gives the probability that a correct sampler fails it
for a seed chosen at random.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import pickle
import struct
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from autoinit.errors import ConfigTypeError
from autoinit.sampling import (
    VERSION,
    Key,
    NormalTransform,
    Sampler,
    TailTransform,
    Transform,
    TruncNormalTransform,
    UniformTransform,
    check_seed,
    derive_key,
    fresh_seed,
    truncated_normal,
)
from autoinit.sampling.keys import BITS_VERSION
from autoinit.sampling.mixing import GAMMA, MULTIPLIER, scattered, scattered_number, signed, splitmix64
from autoinit.sampling.sampler import BLOCK, CPU_PIECE, slabs
from autoinit.sampling.truncation import float32
from autoinit.sampling.version1 import in_version1
from tests.processes import Interpreter

CPU = torch.device("cpu")
KEY = derive_key(0, 0, "layer1.0.conv1.weight")
INF = math.inf
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

NORMALS = [0.388960063457489, -1.6064079999923706, 0.7020803093910217]
TRUNCATED_NORMALS = [0.37040817737579346, -1.4439175128936768, 0.664813756942749]
LOPSIDED = [0.5411081910133362, -0.8270922899246216, 0.827231764793396]
FAR = [8.128695487976074, 8.006842613220215, 8.173161506652832]
FARTHER = [-40.01070785522461, -40.07281494140625, -40.006900787353516]

keys = st.builds(Key, st.integers(0, MASK), st.integers(0, MASK))
transforms = st.sampled_from(TRANSFORMS)


def reference_splitmix64(state: int) -> int:
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def reference_bits(key: Key, start: int, count: int) -> list[int]:
    """The definition of the bits in Python's integers."""
    found = []
    for index in range(start, start + count):
        block, place = divmod(index >> 1, BLOCK)
        scatter = reference_splitmix64(block * GAMMA & MASK)
        z = reference_splitmix64(place * GAMMA & MASK) * ((key.twist + scatter) | 1) + key.offset + scatter
        z &= MASK
        z = ((z ^ (z >> 32)) * MULTIPLIER) & MASK
        z ^= z >> 32
        half = (z >> 32) if index & 1 else z & 0xFFFFFFFF
        found.append(half - (1 << 32) if half >> 31 else half)
    return found


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


starts = st.integers(0, 1 << 40) | st.builds(
    lambda block, step: max(0, 2 * BLOCK * block + step), st.integers(0, 5), st.integers(-300, 300)
)


@given(key=keys, start=starts, count=st.integers(0, 300))
def test_bits_are_those_of_the_definition(key: Key, start: int, count: int) -> None:
    expected = reference_bits(key, start, count)
    assert Sampler(CPU).bits(key, start, count).tolist() == expected


def test_a_range_over_several_blocks_is_that_of_its_parts() -> None:
    whole = Sampler(CPU).bits(KEY, 2 * BLOCK - 7, 4 * BLOCK + 20)
    parts = [Sampler(CPU).bits(KEY, start, 2 * BLOCK) for start in (2 * BLOCK, 4 * BLOCK)]
    assert torch.equal(whole[7 : 7 + 4 * BLOCK], torch.cat(parts))
    assert whole[-13:].tolist() == reference_bits(KEY, 6 * BLOCK, 13)


def test_the_table_is_the_published_splitmix64() -> None:
    # The first outputs for seed 1234567, as in the test vectors of its many other implementations.
    states = torch.tensor([signed(1234567 + GAMMA * number) for number in range(1, 6)])
    assert [word & MASK for word in splitmix64(states).tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(number=st.integers(0, 1 << 40))
def test_one_number_is_scattered_as_a_tensor_of_them_is(number: int) -> None:
    assert scattered(torch.tensor([number])).tolist() == [signed(scattered_number(number))]


def test_the_definition_has_not_changed() -> None:
    # Whoever has to change a number here changes every value that users have: raise VERSION, keep the old ones.
    assert (VERSION, BITS_VERSION) == (2, 1)
    assert Key(3472011270063918362, 7356821435982006733) == KEY
    assert derive_key(-5, 3, "ü.weight", 2) == Key(11979428042695225693, 174872577626257201)
    assert Sampler(CPU).bits(KEY, 0, 4).tolist() == [650031058, -1915159662, 1111045657, -955532803]
    assert Sampler(CPU).bits(KEY, 2**33 + 1, 2).tolist() == [1442462347, 1049036205]


@pytest.mark.parametrize(
    ("transform", "values"),
    [
        (UniformTransform(-1, 1), [0.30269429087638855, -0.891815721988678, 0.5173709392547607]),
        (NormalTransform(0, 1), NORMALS),
        (truncated_normal(0, 1, -2, 2), TRUNCATED_NORMALS),
        (truncated_normal(0, 1, -1, 3), LOPSIDED),
        (truncated_normal(0, 1, 8, 9), FAR),
        (truncated_normal(0, 1, -INF, -40), FARTHER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_have_not_changed(transform: Transform, values: list[float]) -> None:
    assert draw(transform, 3).tolist() == values


@pytest.mark.parametrize(
    ("transform", "values"),
    [
        (UniformTransform(-1, 1), [0.30269429087638855, -0.891815721988678, 0.5173709392547607]),
        (NormalTransform(0, 1), [0.38895997405052185, -1.6064077615737915, 0.702080249786377]),
        (truncated_normal(0, 1, -2, 2), [0.37040814757347107, -1.4439175128936768, 0.6648138165473938]),
        (truncated_normal(0, 1, 8, 9), [8.128694534301758, 8.006843566894531, 8.173160552978516]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_version_1_have_not_changed(transform: Transform, values: list[float]) -> None:
    out, together = torch.empty(3), [torch.empty(3), torch.empty(3)]
    sampler = Sampler(CPU, version=1)
    sampler.draw_into(out, KEY, transform)
    sampler.draw_each(together, [KEY, KEY], [transform] * 2)
    # Another machine's erfinv may differ in the last digit.
    for drawn in (out, *together):
        torch.testing.assert_close(drawn, torch.tensor(values), rtol=3e-7, atol=0)


def test_the_next_call_reuses_the_buffer() -> None:
    sampler = Sampler(CPU)
    first = sampler.bits(KEY, 0, 8)
    kept = first.clone()
    sampler.bits(KEY, 100, 8)
    assert not torch.equal(first, kept)


@given(word=st.integers(-(1 << 70), 1 << 70))
def test_signed_keeps_the_low_64_bits(word: int) -> None:
    assert -(1 << 63) <= signed(word) < 1 << 63
    assert (signed(word) - word) % (1 << 64) == 0


# Slices, pieces, threads, layouts, dtypes


@given(transform=transforms, start=st.integers(0, 2500), count=st.integers(0, 1500))
def test_a_slice_is_the_slice_of_the_whole(transform: Transform, start: int, count: int) -> None:
    whole = draw(transform, 4000)
    part = transformed(transform, Sampler(CPU).bits(KEY, start, count))
    assert torch.equal(part, whole[start : start + count])


@given(transform=transforms, piece=st.integers(1, 3000))
def test_the_size_of_pieces_changes_nothing(transform: Transform, piece: int) -> None:
    assert torch.equal(draw(transform, 2500, piece=piece), draw(transform, 2500))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_nothing(transform: Transform) -> None:
    count = 3 * CPU_PIECE + 12345 if not isinstance(transform, TailTransform) else 100_001
    bits = Sampler(CPU).bits(KEY, 0, count).clone()
    torch.set_num_threads(1)
    alone, by_operators = transformed(transform, bits), torch.empty(count)
    for number in (2, 3, 5):
        torch.set_num_threads(number)
        Sampler(CPU, use_kernel=False).draw_into(by_operators, KEY, transform)
        assert torch.equal(draw(transform, count), alone)
        assert torch.equal(transformed(transform, bits), alone)
        assert torch.equal(by_operators, alone)
        assert torch.get_num_threads() == number


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
def layouts(take) -> Tensor:
    """An empty tensor of some shape, with some order of axes in memory, steps and an offset."""
    shape = take(st.lists(st.integers(0, 5), max_size=4))
    order = take(st.permutations(range(len(shape))))
    steps = take(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    storage = torch.full([shape[axis] * steps[axis] for axis in order], math.nan)
    back = sorted(range(len(order)), key=order.__getitem__)
    return storage.permute(back)[tuple(slice(None, None, step) for step in steps)]


@given(transform=transforms, tensor=layouts(), piece=st.integers(1, 40))
def test_the_layout_in_memory_changes_nothing(transform: Transform, tensor: Tensor, piece: int) -> None:
    strides = tensor.stride()
    Sampler(CPU, piece).draw_into(tensor, KEY, transform)
    assert tensor.stride() == strides
    assert torch.equal(tensor.flatten(), draw(transform, tensor.numel()))


def test_only_the_elements_of_a_view_are_written() -> None:
    storage = torch.zeros(6, 8)
    Sampler(CPU).draw_into(storage[1:5:2, 2:7:3], KEY, UniformTransform(1.0, 2.0))
    assert (storage != 0).nonzero().tolist() == [[1, 2], [1, 5], [3, 2], [3, 5]]


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats(memory_format: torch.memory_format) -> None:
    tensor = torch.empty(4, 3, 5, 5).to(memory_format=memory_format)
    Sampler(CPU, 32).draw_into(tensor, KEY, TRANSFORMS[2])
    assert tensor.is_contiguous(memory_format=memory_format)
    assert torch.equal(tensor, draw(TRANSFORMS[2], 300).view(4, 3, 5, 5))


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64], ids=str
)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_other_dtypes_are_float32_rounded_once(dtype: torch.dtype, transform: Transform) -> None:
    out = torch.empty(40, 70, dtype=dtype)
    Sampler(CPU, 999).draw_into(out, KEY, transform)
    expected = draw(transform, 2800).view(40, 70).to(dtype)
    assert torch.equal(out.view(torch.uint8), expected.view(torch.uint8))


@given(
    transform=transforms,
    tensors=st.lists(layouts(), max_size=8),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    piece=st.integers(1, 400),
    use_kernel=st.booleans(),
)
def test_small_tensors_drawn_together_are_as_if_drawn_alone(
    transform: Transform, tensors: list[Tensor], dtype: torch.dtype, piece: int, use_kernel: bool
) -> None:
    names = [derive_key(0, 0, str(index)) for index in range(len(tensors))]
    together = [tensor.to(dtype) for tensor in tensors]
    alone = [tensor.clone() for tensor in together]
    Sampler(CPU, piece, use_kernel=use_kernel).draw_each(together, names, [transform] * len(names))
    for tensor, key in zip(alone, names, strict=True):
        Sampler(CPU).draw_into(tensor, key, transform)
    assert all(map(torch.equal, together, alone))


def test_many_small_tensors_take_the_memory_of_a_piece() -> None:
    sampler, tensors = Sampler(CPU, piece=1000, use_kernel=False), [torch.empty(7) for _ in range(3000)]
    keys, normal = [derive_key(0, 0, str(index)) for index in range(3000)], NormalTransform(0.0, 1.0)
    sampler.draw_each(tensors, keys, [normal] * 3000)
    assert sampler._floats.numel() <= 1001
    assert sampler._state.numel() <= 1024
    assert torch.equal(tensors[2999], draw(NormalTransform(0.0, 1.0), 7, derive_key(0, 0, "2999")))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_the_default_device_changes_nothing(transform: Transform) -> None:
    single, small = torch.empty(9), torch.empty(9)
    with torch.device("meta"):
        Sampler(CPU).draw_into(single, KEY, transform)
        Sampler(CPU, use_kernel=False).draw_each([small], [KEY], [transform])
    assert torch.equal(single, draw(transform, 9))
    assert torch.equal(small, draw(transform, 9))


@given(shape=st.lists(st.integers(0, 6), max_size=4), limit=st.integers(1, 30))
def test_slabs_tile_a_tensor_in_row_major_order(shape: list[int], limit: int) -> None:
    tensor = torch.arange(math.prod(shape)).view(shape)
    tiles = list(slabs(tensor, limit))
    assert all(1 <= slab.numel() <= limit for _, slab in tiles)
    assert all(slab.flatten().tolist() == list(range(start, start + slab.numel())) for start, slab in tiles)
    assert sum(slab.numel() for _, slab in tiles) == tensor.numel()


# Keys and seeds


def differing_bits(one: Key, other: Key) -> tuple[int, int]:
    return (one.offset ^ other.offset).bit_count(), (one.twist ^ other.twist).bit_count()


def test_keys_one_bit_apart_in_their_source_are_unrelated() -> None:
    seeds = [derive_key(1 << bit, 0, "w") for bit in range(64)]
    names = [derive_key(0, 0, "w" * place + chr(ord("w") ^ 1 << bit)) for place in range(8) for bit in range(5)]
    others = [derive_key(0, root, "w", stream) for root in range(8) for stream in range(8)]
    # 128 bits of 168 keys: 28,056 counts of binomial(64, 1/2), each outside [10, 54] with probability 2e-8.
    distances = [differing_bits(*pair) for pair in itertools.combinations([*seeds, *names, *others], 2)]
    assert len({*seeds, *names, *others}) == 168
    assert all(10 < count < 54 for pair in distances for count in pair)


@given(seed=st.integers(), root=st.integers(0, 99), fqn=st.text(), stream=st.integers(0, 9))
def test_a_key_is_the_hash_of_a_json_list(seed: int, root: int, fqn: str, stream: int) -> None:
    text = json.dumps(["autoinit", 1, seed, root, fqn, stream])
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
    offset, twist = struct.unpack("<QQ", digest)
    assert derive_key(seed, root, fqn, stream) == Key(offset, twist)


@pytest.mark.parametrize("seed", [7, -1, 2**70, np.int64(7), np.uint8(7), torch.tensor(7)], ids=repr)
def test_any_integer_is_a_seed(seed: object) -> None:
    checked = check_seed(seed)
    assert type(checked) is int
    assert checked == seed


@pytest.mark.parametrize(
    "seed", [True, 7.0, "7", [7], np.float32(7), torch.tensor(7.0), torch.tensor([7, 8])], ids=repr
)
def test_nothing_else_is(seed: object) -> None:
    with pytest.raises(ConfigTypeError, match=r"^seed=.* must be an integer or None\.$") as caught:
        check_seed(seed)
    assert caught.value.origin == "seed"
    assert check_seed(None) is None


def test_no_two_sources_spell_one_key() -> None:
    sources = [
        (1, 0, "a"),
        (0, 1, "a"),
        (1, 0, 'a", 0'),
        (10, 0, "a"),
        (1, 0, "0, a"),
        (1, 0, ""),
        (-1, 0, "a"),
        (1, 0, "A"),
    ]
    sources += [(1, 0, name) for name in ("a.b", "a_b", "a\\.b", "ä", "a\u0308", "\ud800", "a\x00")]
    assert len({derive_key(*source) for source in sources}) == len(sources)
    assert derive_key(2**80, 0, "a") != derive_key(0, 0, "a")


def test_an_fqn_is_not_a_stream() -> None:
    assert len({derive_key(0, 0, "w", stream) for stream in range(100)}) == 100
    assert derive_key(0, 0, "w") == derive_key(0, 0, "w", 0)


def test_a_fresh_seed_follows_the_default_generator() -> None:
    torch.manual_seed(7)
    first, second = fresh_seed(), fresh_seed()
    torch.manual_seed(7)
    assert fresh_seed() == first != second
    assert 0 <= first < 1 << 63


def test_a_fresh_seed_is_drawn_on_the_cpu_whatever_the_default_device() -> None:
    torch.manual_seed(7)
    expected = fresh_seed()
    torch.manual_seed(7)
    with torch.device("meta"):
        assert fresh_seed() == expected


def test_a_fresh_seed_asks_no_other_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    expected = fresh_seed()
    torch.manual_seed(7)
    # There is no process group, so that any collective would raise.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert fresh_seed() == expected


# Independence


def streams(count: int) -> np.ndarray:
    """Sixteen streams whose sources are neighbours of each other, as numbers with mean 0 and variance 1."""
    sources = [(seed, 0, "weight", 0) for seed in (0, 1, 2, -1, 2**32)]
    sources += [(0, 1, "weight", 0), (0, 0, "weight", 1), (1, 1, "weight", 1)]
    sources += [(0, 0, name, 0) for name in ("bias", "0.weight", "1.weight", "10.weight", "weighs", "", "a", "b")]
    sampler = Sampler(CPU)
    rows = [sampler.bits(derive_key(*source), 0, count).numpy().astype(np.float64) for source in sources]
    return (np.stack(rows) + 0.5) / 2.0**31 * math.sqrt(3)


def test_streams_are_uncorrelated_with_each_other_and_with_themselves_later() -> None:
    count = 1 << 17
    rows = streams(count)
    across = (rows @ rows.T / math.sqrt(count))[np.triu_indices(16, 1)]
    lags = (1, 2, 3, 4, 8, 64, 1024)
    later = [(rows[:, lag:] * rows[:, :-lag]).sum(1) / math.sqrt(count - lag) for lag in lags]
    crossed = [rows[0, lag:] @ rows[other, :-lag] / math.sqrt(count - lag) for lag in lags for other in range(1, 16)]
    # 120 + 112 + 105 standard normal correlations: beyond 5 with probability 337 * 5.7e-7 = 2e-4.
    assert max(map(abs, [*across, *np.concatenate(later), *crossed])) < 5


def test_squares_of_streams_are_uncorrelated_too() -> None:
    # What is uncorrelated may still be dependent: the sizes of neighbours, for example.
    count = 1 << 17
    rows = streams(count) ** 2 - 1
    rows /= math.sqrt(0.8)
    across = (rows @ rows.T / math.sqrt(count))[np.triu_indices(16, 1)]
    later = [(rows[:, lag:] * rows[:, :-lag]).sum(1) / math.sqrt(count - lag) for lag in (1, 2, 3, 64)]
    # 184 values: beyond 5 with probability 1e-4.
    assert max(map(abs, [*across, *np.concatenate(later)])) < 5


def test_every_bit_is_fair_and_differs_from_every_other_streams() -> None:
    count = 1 << 15
    sampler = Sampler(CPU)
    words = [sampler.bits(derive_key(0, 0, name), 0, count).numpy().copy() for name in "abcdefgh"]
    pairs = [one ^ other for one, other in itertools.combinations(words, 2)]
    ones = np.array([[(word >> bit & 1).sum() for bit in range(32)] for word in [*words, *pairs]])
    # 36 * 32 binomial counts: beyond 5.5 standard deviations with probability 1152 * 3.8e-8 = 4e-5.
    assert np.abs((ones - count / 2) / math.sqrt(count / 4)).max() < 5.5


def test_the_two_halves_of_a_word_are_as_random_as_its_neighbours() -> None:
    bits = Sampler(CPU).bits(KEY, 0, 1 << 16).numpy().astype(np.int64)
    cells = (bits[::2] + 2**31 >> 28) * 16 + (bits[1::2] + 2**31 >> 28)
    # Chi-square over 16 x 16 cells; fails with probability 1e-4.
    assert stats.chisquare(np.bincount(cells, minlength=256)).pvalue > 1e-4


# Uniform


def tensor_range(transform: Transform) -> tuple[float, float]:
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
def test_uniform_values_never_leave_the_interval_and_reach_its_ends(interval: tuple[float, float]) -> None:
    low, high = map(float32, interval)
    bottom, top = tensor_range(UniformTransform(*interval))
    assert low <= bottom <= top <= high
    # Short of the ends by no more than a few units in the last place, of the bounds or of the 24 bits.
    slack = 2.0**-21 * max(abs(low), abs(high)) + 2.0**-147
    assert bottom - low <= slack
    assert high - top <= slack


@pytest.mark.parametrize(
    "interval",
    [
        (0.0, 1e-45),
        (-1e-45, 1e-45),
        (1e-45, 1e-37),
        (2.2462022962775e-36, 2.2854122937348102e-36),
        (-2.7e-42, 1.8e-38),
        (1.0, 1.0 + 2.0**-23),
        (0.1, 0.1 + 1e-12),
        (-3.4028234e38, 3.4028234e38),
        (3.40282e38, 3.4028234e38),
        (5.0, 5.0),
    ],
)
def test_intervals_at_the_limits_of_float32(interval: tuple[float, float]) -> None:
    bottom, top = tensor_range(UniformTransform(*interval))
    assert float32(interval[0]) <= bottom <= top <= float32(interval[1])


def test_intervals_between_tenths() -> None:
    # In one of 35 of these the values of the plain formula would leave the interval by rounding.
    for low, high in itertools.combinations([tenths / 10 for tenths in range(-20, 21)], 2):
        bottom, top = tensor_range(UniformTransform(low, high))
        assert float32(low) <= bottom < top <= float32(high)


def test_a_subnormal_step_keeps_the_distribution_uniform() -> None:
    # Half the width times 2**-23 would be a subnormal with a handful of digits.
    grid = torch.arange(-(1 << 31), 1 << 31, 1 << 20, dtype=torch.int64).to(torch.int32)
    values = transformed(UniformTransform(0.0, 1e-36), grid).double() / 1e-36
    torch.testing.assert_close(values, torch.linspace(0, 1, 4097, dtype=torch.float64)[:-1], atol=1e-6, rtol=0)


@given(value=st.floats(allow_nan=False))
def test_float32_is_the_nearest(value: float) -> None:
    with np.errstate(over="ignore"):
        assert float32(value) == float(np.float32(value))


# Normal and truncated normal


def grid_of_bits(count: int) -> Tensor:
    """Centres of `count` equal cells of the range of an int32."""
    step = (1 << 32) // count
    return torch.arange(-(1 << 31) + step // 2, 1 << 31, step, dtype=torch.int64).to(torch.int32)


def test_the_normal_is_symmetric_to_the_bit() -> None:
    bits = Sampler(CPU).bits(KEY, 0, 100_000).clone()
    extremes = torch.tensor([(1 << 31) - 1, 0, 1, 255, 1 << 24], dtype=torch.int32)
    bits = torch.cat([bits, extremes])
    transform = NormalTransform(0.0, 0.7)
    assert torch.equal(transformed(transform, bits), -transformed(transform, ~bits))


def test_the_place_of_a_normal_is_its_share_of_the_bits() -> None:
    bits = torch.cat([grid_of_bits(1 << 16), torch.arange(-(1 << 31), -(1 << 31) + (1 << 16), 64)]).to(torch.int32)
    share = stats.norm.cdf(transformed(NormalTransform(0.0, 1.0), bits).double().numpy())
    # Half a step of 2**-24 of the conversion, and the quantile.
    assert np.abs(share - (bits.double().numpy() + 2.0**31 + 0.5) * 2.0**-32).max() < 1.25 * 2.0**-24


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_values_rise_with_the_bits(transform: Transform) -> None:
    rough = grid_of_bits(1 << 12)
    fine = torch.arange(-3000, 3000, dtype=torch.int32)
    ends = torch.arange(3000, dtype=torch.int64)
    for bits in (rough, fine, (ends - (1 << 31)).to(torch.int32), (ends + (1 << 31) - 3000).to(torch.int32)):
        assert transformed(transform, bits).diff().min() >= 0


# mean, std, low, high
TRUNCATED = [
    (0, 1, -2, 2),
    (0, 0.02, -0.04, 0.04),
    (0, 1, 0, INF),
    (0, 1, -INF, 1),
    (0, 1, 1.5, INF),
    (0, 1, -3, -1),
    (0.3, 2, -1, 0.5),
    (-3, 0.5, -1, 2),
    (5, 0.1, 0, 4.9),
    (5, 0.1, 5.05, 5.06),
    (0, 1, 0.1, 0.1001),
    (0, 1, -0.001, 0.002),
    (0, 1, -0.002, 0.001),
    (0, 1, 1, 1.000001),
    (0, 1, 8, INF),
    (0, 1, 8, 9),
    (0, 1, -INF, -8),
    (0, 1, -8.001, -8),
    (0, 1, 40, INF),
    (0, 1, -41, -40),
    (0, 1, -40, 40),
    (0, 1, -40, INF),
    (0, 1, -1, 40),
    (0, 1, -100, 100),
    (0, 1, 100, INF),
    (0, 1, -INF, -100),
    (0, 1, -100, 2),
    (0, 1, -INF, INF),
    (-100, 0.01, 0, INF),
]


def exact_share(value: float, mean: float, std: float, low: float, high: float) -> mpmath.mpf:
    """The probability that a truncated normal is at most `value`, to fifty digits wherever the bounds are."""
    with mpmath.workdps(50):
        z, alpha, beta = ((mpmath.mpf(x) - mpmath.mpf(mean)) / mpmath.mpf(std) for x in (value, low, high))
        z = min(max(z, alpha), beta)
        if alpha + beta > 0:  # From the side on which the probabilities are small.
            tails = [mpmath.erfc(x / mpmath.sqrt(2)) for x in (alpha, z, beta)]
            return (tails[0] - tails[1]) / (tails[0] - tails[2])
        tails = [mpmath.erfc(-x / mpmath.sqrt(2)) for x in (alpha, z, beta)]
        return (tails[1] - tails[0]) / (tails[2] - tails[0])


def brackets(transform: Transform, bits: list[int], case: tuple[float, ...]) -> list[int]:
    """The bits whose value is further than rounding from the quantile that they stand for."""
    mean, std, low, high = case
    missed = []
    for word, value in zip(bits, transformed(transform, bits).tolist(), strict=True):
        share = (word + 2.0**31 + 0.5) * 2.0**-32
        unit = 2.0**-23 * max(abs(value), abs(value - mean))
        below, above = (exact_share(value + side * 2 * unit, mean, std, low, high) for side in (-1, 1))
        # `truncated_normal` promises 2**20 distinct values, so that a share is known to half a cell of those.
        if not low - unit <= value <= high + unit or not below - 2.0**-20 <= share <= above + 2.0**-20:
            missed.append(word)
    return missed


SPREAD = [-(1 << 31), -(1 << 31) + 1, -(1 << 31) + 4096, -1, 0, (1 << 31) - 4096, (1 << 31) - 1]
SPREAD += [int(x) for x in torch.linspace(-(2.0**31) * 0.999, 2.0**31 * 0.999, 25, dtype=torch.float64)]


@pytest.mark.parametrize("case", TRUNCATED, ids=str)
def test_truncated_normals_are_the_inverse_cdf(case: tuple[float, ...]) -> None:
    transform = truncated_normal(*case)
    assert brackets(transform, SPREAD, case) == []
    found = transformed(transform, sorted(SPREAD))
    assert found.diff().min() >= 0
    assert torch.isfinite(found).all()


def test_the_comparison_with_the_inverse_cdf_can_fail() -> None:
    wrong = truncated_normal(0.0, 1.001, -2.0, 2.0)
    assert len(brackets(wrong, SPREAD, (0.0, 1.0, -2.0, 2.0))) > 20
    assert len(brackets(TailTransform(0.0, 1.0005, 8.0, 9.0), SPREAD, (0.0, 1.0, 8.0, 9.0))) > 20


@pytest.mark.parametrize(
    "case", [case for case in TRUNCATED if isinstance(truncated_normal(*case), TruncNormalTransform)], ids=str
)
def test_both_formulas_agree_where_both_apply(case: tuple[float, ...]) -> None:
    mean, std, low, high = case
    if low <= mean <= high:  # The formula for far tails is one for intervals on one side.
        assert truncated_normal(*case) == TruncNormalTransform(*case)
        return
    bits = grid_of_bits(1 << 10)
    fast, careful = (transformed(kind(*case), bits) for kind in (TruncNormalTransform, TailTransform))
    # Half a cell of 2**-20 of the probability, where the density is not near zero.
    middle = slice(10, -10)
    torch.testing.assert_close(fast[middle], careful[middle], rtol=2e-6, atol=2e-6 * std)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_both_versions_are_the_same_but_for_rounding(transform: Transform) -> None:
    # Version 1 has few digits where float32 is close to 1.
    bits = grid_of_bits(1 << 12)[20:-20]
    torch.testing.assert_close(
        transformed(transform, bits), transformed(in_version1(transform), bits), rtol=3e-6, atol=1e-6
    )


@given(
    mean=st.floats(-10, 10),
    std=st.floats(0.01, 10),
    low=st.floats(-60, 60),
    width=st.floats(1e-6, 100),
)
def test_truncated_values_stay_within_bounds_rise_and_are_spread(
    mean: float, std: float, low: float, width: float
) -> None:
    high = low + width
    found = transformed(truncated_normal(mean, std, low, high), sorted(SPREAD))
    assert torch.isfinite(found).all()
    assert float32(low) <= found.min() <= found.max() <= float32(high)
    assert found.diff().min() >= 0


# Moments and shape of what is drawn


def expected(transform: Transform) -> stats.rv_continuous:
    match transform:
        case UniformTransform(low, high):
            return stats.uniform(low, high - low)
        case NormalTransform(mean, std):
            return stats.norm(mean, std)
        case TruncNormalTransform(mean, std, low, high):
            return stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    raise TypeError(transform)


@pytest.mark.parametrize("transform", [t for t in TRANSFORMS if not isinstance(t, TailTransform)], ids=repr)
@pytest.mark.parametrize("name", ["a.weight", "b.weight"])
def test_moments_and_shape(transform: Transform, name: str) -> None:
    count = 1 << 17
    sample = draw(transform, count, derive_key(11, 0, name)).double().numpy()
    ideal = expected(transform)
    mean, variance, kurtosis = (float(x) for x in ideal.stats("mvk"))
    z = (sample.mean() - mean) / math.sqrt(variance / count)
    # The sum of squares has the variance of a chi-square with this many degrees of freedom.
    freedom = 2 * count / (kurtosis + 2)
    spread = freedom * ((sample - mean) ** 2).mean() / variance
    pvalues = [2 * stats.norm.sf(abs(z)), 2 * min(stats.chi2.cdf(spread, freedom), stats.chi2.sf(spread, freedom))]
    pvalues.append(stats.kstest(sample, ideal.cdf).pvalue)
    # 12 cases of three tests at 1e-5: some fails with probability 4e-4.
    assert min(pvalues) > 1e-5, pvalues


def test_the_moments_of_all_bits_are_those_of_the_distribution() -> None:
    # Over a grid of bits there is no chance: an error of 1e-4 in a standard deviation would show.
    for transform in TRANSFORMS:
        if not isinstance(transform, TailTransform):
            values = transformed(transform, grid_of_bits(1 << 17)).double()
            mean, variance = expected(transform).stats("mv")
            assert float(values.mean()) == pytest.approx(mean, abs=2e-6 * math.sqrt(variance))
            assert float(values.std(correction=0)) == pytest.approx(math.sqrt(variance), rel=2e-5)


# What a transform is, and what drawing costs


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_transforms_are_values(transform: Transform) -> None:
    twin = pickle.loads(pickle.dumps(transform))
    assert twin == transform
    assert hash(twin) == hash(transform)
    bits = grid_of_bits(64)
    assert torch.equal(transformed(twin, bits), transformed(transform, bits))
    with pytest.raises(AttributeError):
        transform.low = 3.0


PEAK = """
    import resource, sys, torch
    from autoinit.sampling import *

    sampler, key = Sampler(torch.device("cpu")), derive_key(0, 0, "w")
    {transform}
    target = {target}
    sampler.draw_into(torch.empty(1 << 19), key, transform)
    sampler.draw_into(torch.empty(1 << 19, dtype=torch.bfloat16), key, transform)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sampler.draw_into(target, key, transform)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", ["torch.zeros(1 << 25)", "torch.zeros(1 << 12, 1 << 14).bfloat16().t()"])
@pytest.mark.parametrize(
    "transform",
    [
        "transform = UniformTransform(0, 1)",
        "transform = NormalTransform(0, 1)",
        "transform = truncated_normal(0, 1, -2, 2)",
    ],
)
def test_drawing_needs_the_memory_of_a_piece(transform: str, target: str, interpreter: Interpreter) -> None:
    # Both targets have 128 MiB; one more of them, or a float32 of one, would be 131,072 KiB.
    assert int(interpreter.check(PEAK.format(transform=transform, target=target))) < 16_384


def test_no_temporary_is_larger_than_a_piece() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.untyped_storage()._cdata != target.untyped_storage()._cdata:
                largest = max(largest, result.numel())
            return result

    for transform in TRANSFORMS:
        for target in (torch.empty(8_200), torch.empty(100, 82).t(), torch.empty(8_200, dtype=torch.bfloat16)):
            with Watch():
                Sampler(CPU, piece=4096).draw_into(target, KEY, transform)
    assert 0 < largest <= 2 * 4096 + 8
