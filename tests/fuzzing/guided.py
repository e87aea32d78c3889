"""Texts of configs, changed by what of the reader and the parser they reach: libFuzzer, by way of atheris.

The first byte of an input says which syntax it is. What is found is a file in `build/fuzzing`, which this runs again
when it is given as an argument.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["autoinit.config", "autoinit.rules", "autoinit.globs", "yaml", "json"]):
    import autoinit.config  # noqa: F401
    import autoinit.globs
    import autoinit.rules  # noqa: F401

from .findings import Finding, outcome
from .limits import MEMORY, SECONDS
from .session import surroundings
from .texts import SUFFIXES, WORDS, Case, Texts, files

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
        target = Texts()
        flags = [f"-seed={options.seed + 1}", f"-timeout={2 * SECONDS}", f"-dict={words}", "-print_final_stats=1"]
        flags += [f"-artifact_prefix={FOUND}/", f"-rss_limit_mb={4 * MEMORY >> 20}", "-verbosity=0"]
        flags += options.inputs or [f"-max_total_time={options.seconds}", "-max_len=3000", str(corpus)]
        atheris.Setup([sys.argv[0], *flags], lambda data: _run(target, data))
        atheris.Fuzz()


def _run(target: Texts, data: bytes) -> None:
    if data:
        case = Case(model="mixed", suffix=SUFFIXES[data[0] % len(SUFFIXES)], content=data[1:])
        result = outcome(target, case)
        if isinstance(result, Finding):
            raise RuntimeError(f"FOUND {result.kind}\n{result.text}\n{target.shown(case)}")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
