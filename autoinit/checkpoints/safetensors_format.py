"""Files of the safetensors library."""

from __future__ import annotations

import importlib.util
import json

import torch

from .contents import Contents, StoredTensor
from .source import Source

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""The format's names and torch's, https://huggingface.co/docs/safetensors."""


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file starts as a safetensors file does: with a header's length, then the header."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000


def is_safetensors(source: Source) -> bool:
    """Whether the safetensors library is to read `source`: by its suffix or by its contents."""
    return source.path.endswith(".safetensors") or looks_like_safetensors(source.head())


def read_safetensors(source: Source, key: str | None) -> Contents:
    """Read the header of a safetensors file; values stay in the file. A damaged one raises anything."""
    from safetensors import safe_open

    if key is not None:
        remedy = f"leave key= out; if the names in it begin with {key!r}, give that as prefix="
        raise source.error(f"is a safetensors file and has no part called {key!r}", remedy)
    # The library checks the file, but does not say where in it the values of a tensor are. For torch it maps the file
    # so that the system refuses one that is larger than its memory; for numpy, if it is installed, it does not.
    framework = "pt" if importlib.util.find_spec("numpy") is None else "np"
    with safe_open(source.path, framework=framework) as file:
        names = list(file.keys())
    if not names:
        raise source.error("holds no tensors", "give the path of a file with weights")
    with open(source.path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    tensors = {}
    for name in names:
        dtype = getattr(torch, _DTYPES.get(header[name]["dtype"], ""), None)
        if dtype is None:
            what = f"holds {name!r} of dtype {header[name]['dtype']}, which torch {torch.__version__} does not have"
            raise source.error(what, "convert it to another dtype, or update torch")
        tensor = torch.empty(header[name]["shape"], dtype=dtype, device="meta")
        tensors[name] = StoredTensor.of(source, name, tensor, 8 + length + header[name]["data_offsets"][0])
    return Contents(tensors, {})
