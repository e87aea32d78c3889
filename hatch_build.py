"""Compiles the kernel of `autoinit.sampling` into the package; without a C compiler the package is complete, too."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "autoinit" / "sampling"
LIBRARY = FOLDER / "_kernel.so"
# Each operation is rounded on its own: no fused multiply-add. The rest allows vector instructions.
ROUNDING = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
FLAGS = ["-O3", "-std=c11", "-fPIC", "-pthread", "-fno-strict-aliasing", *ROUNDING]
VARIANTS = {
    "baseline": [],
    "avx2": ["-mavx2"],
    "avx512": [*(f"-mavx512{part}" for part in ("f", "dq", "vl", "bw")), "-mprefer-vector-width=512"],
}


def build() -> str:
    """Compile the library; gives what went wrong, or nothing."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    variants = VARIANTS if is_x86 else {"baseline": []}
    with tempfile.TemporaryDirectory() as folder:
        objects = [f"{folder}/threads.o", *(f"{folder}/{name}.o" for name in variants)]
        commands = [["-c", str(FOLDER / "kernel_threads.c"), "-o", objects[0], *(["-DWITH_X86"] if is_x86 else [])]]
        for (name, flags), target in zip(variants.items(), objects[1:], strict=True):
            commands.append([*flags, f"-DDRAW=draw_{name}", "-c", str(FOLDER / "kernel.c"), "-o", target])
        commands.append(["-shared", *objects, "-o", f"{folder}/kernel.so", "-lm"])
        for command in commands:
            try:
                done = subprocess.run([*compiler, *FLAGS, *command], capture_output=True, text=True, check=False)
            except OSError as error:
                return str(error)
            if done.returncode:
                return f"{shlex.join(compiler)} failed with {done.returncode}: {done.stderr.strip()}"
        # Whoever has the old file loaded keeps it.
        LIBRARY.unlink(missing_ok=True)
        LIBRARY.write_bytes(Path(folder, "kernel.so").read_bytes())
    return ""


class Kernel(BuildHookInterface):  # type: ignore[type-arg]
    """A wheel with the kernel is one for this platform; one without it is for any."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are collected."""
        LIBRARY.unlink(missing_ok=True)
        problem = build()
        if problem:
            print(f"No kernel: {problem}\nautoinit draws the same values without it, more slowly.", file=sys.stderr)
            return
        target = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append("autoinit/sampling/_kernel.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{target}"
