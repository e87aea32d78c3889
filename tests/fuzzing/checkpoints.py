"""Checkpoint files of every format: damaged, spliced, lying about sizes, hostile."""

from __future__ import annotations

import io
import json
import os
import pathlib
import pickle
import random
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tests.checkpoint_files import Save, save_compressed, save_old, save_safetensors, save_zip

from . import bytesets
from .application import apply
from .limits import BrokenError


class Small(nn.Module):
    """A model that the files are for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 2)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3, dtype=torch.bfloat16)
        self.embed = nn.Embedding(5, 4)


MARKER = pathlib.Path(tempfile.gettempdir(), "autoinit-fuzzing-ran")
"""The file that a hostile pickle would make, if it were run."""

GLOBALS = (
    *("os system", "posix system", "builtins eval", "builtins exec", "builtins getattr", "subprocess call"),
    *("torch load", "torch hub.load", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *("torch FloatStorage", "torch LongStorage", "torch.storage _load_from_bytes", "collections OrderedDict"),
    *("numpy.core.multiarray _reconstruct", "numpy ndarray", "argparse Namespace", "functools partial"),
    *("torch.nn.modules.linear Linear", "autoinit plan", "__main__ x", "torch device", "torch.serialization load"),
)
COMMAND = f"touch {MARKER}"
WORDS = (
    *(f"c{name.replace(' ', chr(10))}\n".encode() for name in GLOBALS),
    f"cos\nsystem\n(S'{COMMAND}'\ntR.".encode(),
    *(b"\x80\x02", b"\x80\x04", b".", b"(", b"t", b"R", b"b", b"}", b"]", b"Q", b"0", b"q\x00", b"h\x00", b"K\xff"),
    *(b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"J\xff\xff\xff\x7f", b"X\xff\xff\xff\xff"),
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"),
    *(b'"F32"', b'"F8_E4M3"', b'"shape":[', b"[99999999999]", b"[-1]", b'"data_offsets":[0,0]', b"__metadata__"),
    *(b"{}", b"1e99", b"conv.weight", b"fc.bias", b"data.pkl", b"data/0", b"../", b"\x00" * 64, b"\xff" * 16),
)


def state_dict() -> dict[Any, Any]:
    """Of the model that the files are for, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return dict(Small().state_dict())


@cache
def whole(form: str) -> bytes:
    state = state_dict()
    if form == "raw":
        return pickle.dumps({name: tensor.tolist() for name, tensor in state.items()}, protocol=2)
    saves: dict[str, Save] = {"zip": save_zip, "old": save_old, "safe": save_safetensors, "packed": save_compressed}
    content: Any = {"state_dict": state, "meta": {"epoch": 3}} if form in ("old", "packed") else dict(state)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "whole")
        saves[form](content, path)
        return path.read_bytes()


FORMS = ("zip", "old", "safe", "packed", "raw")


@dataclass(frozen=True)
class Case:
    """A file and its name, with the files beside it."""

    name: str
    content: bytes
    beside: tuple[tuple[str, bytes], ...] = ()


class Checkpoints:
    """Files of all formats with bytes changed, records of archives changed, headers and indexes that lie."""

    name = "checkpoints"

    def case(self, seed: str) -> Case:
        rng = random.Random(seed)
        return rng.choice(MAKERS)(rng)

    def run(self, case: Case) -> str:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in ((case.name, case.content), *case.beside):
                pathlib.Path(folder, name).write_bytes(content)
            result = apply(Small, lambda: dict(type="Pretrained", checkpoint=str(pathlib.Path(folder, case.name))))
        if MARKER.exists():
            MARKER.unlink()
            raise BrokenError("a file ran something")
        return result

    def smaller(self, case: Case) -> Iterator[Case]:
        for content in bytesets.smaller(case.content):
            yield replace(case, content=content)


def _any_bytes(rng: random.Random) -> Case:
    form = rng.choice(FORMS)
    content = bytesets.mutated(whole(form), rng, [whole(rng.choice(FORMS))], WORDS)
    return Case(name=rng.choice(("x.pth", "x.safetensors", "x", "x.bin")), content=content)


def _records(rng: random.Random) -> Case:
    """An archive that is in order, with records changed, lost, renamed, or there twice."""
    with zipfile.ZipFile(io.BytesIO(whole("zip"))) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(rng.choice((1, 1, 2))):
        index = rng.randrange(len(records)) if rng.random() < 0.4 else 0
        name, content = records[index]
        match rng.randrange(6):
            case 0:
                del records[index]
            case 1:
                records[index] = rng.choice(("x/data.pkl", "../x", "", "whole/data/99", name + "x")), content
            case 2:
                records.append((name, rng.choice(records)[1]))
            case _:
                records[index] = name, bytesets.mutated(content, rng, [whole("raw"), whole("old")], WORDS)
        if not records:
            break
    return Case(name="x.pth", content=_archive(records, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))))


def _archive(records: list[tuple[str, bytes]], compression: int) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in records:
            # Not writestr(name): the time of day is no part of a case.
            found = zipfile.ZipInfo(name or "x")
            found.compress_type = compression
            archive.writestr(found, content)
    return buffer.getvalue()


def _header(rng: random.Random) -> Case:
    content = whole("safe")
    length = int.from_bytes(content[:8], "little")
    header, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(rng.choice((1, 1, 2, 3))):
        entry = header[rng.choice(list(header))]
        key = rng.choice(("dtype", "shape", "data_offsets", "x"))
        numbers = (0, 1, -1, 4, 2**31, 2**63, 2**64, 1.5, "4", None, True, 10**30)
        lists = ([rng.choice(numbers) for _ in range(rng.choice((0, 1, 2, 4)))], [0, len(values)], [len(values), 0])
        others = (rng.choice(("F32", "F64", "BF16", "I64", "F8_E5M2", "F4", "", "BOOL")), *numbers, {}, *lists)
        if isinstance(entry, dict):
            entry[key] = rng.choice(others)
        if rng.random() < 0.1:
            header[rng.choice(("__metadata__", "", "a.b", "conv.weight"))] = rng.choice((*others, dict(header)))
    text = json.dumps(header).encode()
    return Case(name="x.safetensors", content=len(text).to_bytes(8, "little") + text + values)


class Runs:
    """Unpickled without care, it calls a function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _hostile(rng: random.Random) -> Case:
    """A pickle that would run something, in every place and format."""
    functions: tuple[tuple[Any, ...], ...] = (
        (os.system, COMMAND),
        (exec, f"open({str(MARKER)!r}, 'w')"),
        (eval, f"__import__('os').system({COMMAND!r})"),
        (getattr, Tensor, "__class__"),
        (torch.load, str(MARKER)),
        (open, str(MARKER), "w"),
    )
    evil: Any = Runs(*rng.choice(functions))
    state = state_dict()
    content = rng.choice(({**state, "x": evil}, {"state_dict": state, "meta": [evil]}, evil, {evil: 1}, {"a": evil}))
    if isinstance(content, dict) and evil in content:
        content = [evil, state]
    buffer = io.BytesIO()
    match rng.randrange(3):
        case 0:
            torch.save(content, buffer)
        case 1:
            torch.save(content, buffer, _use_new_zipfile_serialization=False)
        case _:
            buffer.write(pickle.dumps({"a": evil}, protocol=rng.randrange(6)))
    data = buffer.getvalue()
    return Case(name="x.pth", content=data if rng.random() < 0.5 else bytesets.mutated(data, rng, [data], WORDS))


def _strange(rng: random.Random) -> Case:
    """Files that are in order, with tensors that are none of the model's kind or larger than their memory."""
    tensors = (
        *(torch.zeros(1).expand(1 << 40), torch.zeros(1).expand(4, 2, 2, 2), torch.zeros(0), torch.tensor(1.0)),
        *(torch.zeros(4, 2, 2, 2).to_sparse(), torch.zeros(4, 2, 2, 2, dtype=torch.complex64), torch.ones(4).bool()),
        *(torch.zeros(4, 2, 2, 2).half(), torch.zeros(4, 2, 2, 2, dtype=torch.int8), torch.zeros(4, device="meta")),
        *(nn.Parameter(torch.full((4, 2, 2, 2), torch.nan)), torch.arange(64.0)[::2].view(4, 2, 2, 2), "text", None),
        *(
            torch.zeros(4, 2, 2, 2).transpose(0, 1).contiguous().transpose(0, 1),
            [1, 2],
            b"x",
            {"weight": torch.ones(4)},
        ),
    )
    state = state_dict()
    for _ in range(rng.choice((1, 2))):
        state[rng.choice((*state, "x", "", "conv", "module.conv.weight", 3, "\ud800"))] = rng.choice(tensors)
    wrap = rng.choice((None, "state_dict", "model", "params", "", 5))
    content = state if wrap is None else {wrap: state, "x": [state]}
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=rng.random() < 0.5)
    return Case(name="x.pth", content=buffer.getvalue())


def _bomb(rng: random.Random) -> Case:
    """An archive of some kilobytes whose records are hundreds of mebibytes of zeros, or are many for one."""
    with zipfile.ZipFile(io.BytesIO(whole("zip"))) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    index = rng.choice([number for number, (name, _) in enumerate(records) if "data" in name])
    records[index] = records[index][0], bytes(rng.choice((1 << 20, 100 << 20)))
    if rng.random() < 0.5:
        records += [(f"whole/data/{number}", records[index][1][: 1 << 20]) for number in range(90, 120)]
    return Case(name="x.pth", content=_archive(records, zipfile.ZIP_DEFLATED))


def _index(rng: random.Random) -> Case:
    """Shards and an index of them, with bytes of either changed."""
    state = state_dict()
    names = list(state)
    shards = {"a.pth": names[::2], "b.safetensors": names[1::2]}
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for shard, held in shards.items():
            save = save_zip if shard.endswith(".pth") else save_safetensors
            save({name: state[name] for name in held}, pathlib.Path(folder, shard))
            files[shard] = pathlib.Path(folder, shard).read_bytes()
    places = {name: shard for shard, held in shards.items() for name in held}
    lies = ("../x", "/etc/passwd", "", "c.pth", "index.json", 3, None, "a.pth/..", "http://localhost/a.pth", ["a.pth"])
    lying: dict[str, Any] = dict(places)
    if rng.random() < 0.5:
        lying[rng.choice(names)] = rng.choice(lies)
    index = json.dumps({"metadata": {}, "weight_map": lying}).encode()
    if rng.random() < 0.4:
        index = bytesets.mutated(index, rng, [index], WORDS)
    else:
        shard = rng.choice(list(files))
        files[shard] = bytesets.mutated(files[shard], rng, [*files.values()], WORDS)
    return Case(name="x.index.json", content=index, beside=tuple(files.items()))


MAKERS = (*[_any_bytes] * 6, *[_records] * 6, *[_header] * 4, *[_hostile] * 3, *[_strange] * 3, *[_index] * 4, _bomb)
