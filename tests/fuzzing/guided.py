"""Texts of configs, read and parsed, changed by what of the code they reach: libFuzzer, by way of atheris.

The first byte of an input says which syntax it is. What is found is a file in `build/fuzzing`, which this runs again
when it is given as an argument.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
import tempfile
import warnings

import atheris

REST = ("applying", "checkpoints", "construction", "interception", "planning", "sampling", "verification")
with atheris.instrument_imports(include=["autoinit", "yaml", "json"], exclude=[f"autoinit.{part}" for part in REST]):
    from autoinit import AutoInitError
    from autoinit.config import parse_config

from .limits import MEMORY, SECONDS  # noqa: E402
from .session import surroundings  # noqa: E402
from .texts import SUFFIXES, WORDS, files  # noqa: E402

FOUND = pathlib.Path("build", "fuzzing")


def main() -> None:
    """Run until the time is up; libFuzzer ends the process, with a status that is not 0 if it found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing.guided", description=__doc__)
    parser.add_argument("inputs", nargs="*", help="files to run again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, surroundings():
        corpus = pathlib.Path(folder, "corpus")
        corpus.mkdir()
        for index, suffix in enumerate(SUFFIXES):
            for number, content in enumerate(files(suffix)):
                corpus.joinpath(f"{number}{suffix}").write_bytes(bytes([index]) + content)
        words = pathlib.Path(folder, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS if 0 < len(word) < 100))
        path = pathlib.Path(folder, "config")
        flags = [f"-seed={options.seed + 1}", f"-timeout={SECONDS}", f"-dict={words}", "-print_final_stats=1"]
        flags += [f"-artifact_prefix={FOUND}/", f"-rss_limit_mb={4 * MEMORY >> 20}", "-verbosity=0"]
        flags += options.inputs or [f"-max_total_time={options.seconds}", "-max_len=3000", str(corpus)]
        atheris.Setup([sys.argv[0], *flags], lambda data: _run(path, data))
        atheris.Fuzz()


def _run(path: pathlib.Path, data: bytes) -> None:
    """Read and parse one file; what is no `AutoInitError` goes to libFuzzer, as does a hang."""
    if data:
        path = path.with_suffix(SUFFIXES[data[0] % len(SUFFIXES)])
        path.write_bytes(data[1:])
        with warnings.catch_warnings(), contextlib.suppress(AutoInitError):
            warnings.simplefilter("ignore")
            parse_config(path)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
