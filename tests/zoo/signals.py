"""`python -m tests.zoo.signals`: a batch through small models of many families, as their libraries initialize them.

It says how many models take the usual inputs of their library, what is flagged at the default bounds, how small and
large signals of models as published are, and whether a model is afterwards what it was before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoinit import Propagation, propagate
from autoinit.tables import Table

from .isolation import CONTEXT
from .selection import matching, subset
from .sizes import read_sizes
from .subjects import LIBRARIES, Subject, library

BATCH = 4
SECONDS = 180
"""For one model."""
ROUND = 20
"""Models before the processes are replaced by new ones."""
EXTREMES = ("std", "gradient")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a model was changed."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.signals", description=__doc__)
    parser.add_argument("--match", default="*", help="glob over names")
    parser.add_argument("--jobs", "-j", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("build/signals.jsonl"), help="where results go, a line each")
    options = parser.parse_args(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    records = []
    with options.json.open("w") as file:
        for record in measured(matching(chosen(), options.match), options.jobs):
            records.append(record)
            print(json.dumps(record), file=file, flush=True)
    for table in tables(records):
        print(f"\n{table}")
    return int(any(record.get("changed") for record in records))


def chosen() -> list[Subject]:
    """The models that a test run builds."""
    return subset((subject for name in LIBRARIES for subject in library(name).subjects()), read_sizes())


def measured(subjects: Sequence[Subject], jobs: int) -> Iterator[dict[str, Any]]:
    # Processes are replaced here, for an executor that does it by itself can wait forever (python/cpython#115634).
    for start in range(0, len(subjects), ROUND):
        with ProcessPoolExecutor(jobs, CONTEXT) as pool:
            some = subjects[start : start + ROUND]
            futures = {pool.submit(measure, subject.library, subject.name): subject for subject in some}
            for future in as_completed(futures):
                record = {"library": futures[future].library, "model": futures[future].name}
                try:
                    yield {**record, **future.result()}
                except BrokenProcessPool as error:
                    yield {**record, "outcome": "crashed", "text": str(error)}


def measure(library_name: str, name: str) -> dict[str, Any]:
    """One model, in a process that may take a limited time."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    try:
        torch.manual_seed(0)
        model = library(library_name).builder(name)()
        before = fingerprint(model)
        found = propagate(model, usual_inputs(model))
        return {"outcome": "measured", "changed": fingerprint(model) != before, **summary(found)}
    except Exception as error:
        return {"outcome": "failed", "text": f"{type(error).__name__}: {error}"[:600]}
    finally:
        signal.alarm(0)


def _too_late(*_: object) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def usual_inputs(model: Any) -> object:
    """Token ids or images, of the size that the model states; one that takes others fails."""
    generator, name = torch.Generator().manual_seed(0), getattr(model, "main_input_name", "")
    if name == "input_ids":
        words = model.config.get_text_config().vocab_size
        return {name: torch.randint(words, (BATCH, 16), generator=generator)}
    if name:
        config = model.config
        size = (config.num_channels, config.image_size, config.image_size)
        return {name: torch.randn(BATCH, *size, generator=generator)}
    size = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    return torch.randn(BATCH, *size, generator=generator)


def fingerprint(model: nn.Module) -> str:
    """Of all that propagation may not change."""
    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.requires_grad} {tensor.grad is None} {id(tensor)}".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for name, module in model.named_modules():
        hooks = module._forward_hooks, module._forward_pre_hooks, module._forward_hooks_with_kwargs
        digest.update(f"{name} {module.training} {[len(table) for table in hooks]}".encode())
    return digest.hexdigest()


def summary(found: Propagation) -> dict[str, Any]:
    values = {name: [v for s in found.values() if (v := getattr(s, name))] for name in EXTREMES}
    return {
        "inputs": found.inputs,
        "modules": len(found),
        "flags": Counter(flag.kind for flag in found.flags),
        "first": str(found.flags[0]) if found.flags else "",
        "dead": max((s.dead for s in found.values() if s.dead is not None), default=0.0),
        **{f"{name}_{end.__name__}": end(of, default=None) for name, of in values.items() for end in (min, max)},
    }


def tables(records: Iterable[dict[str, Any]]) -> Iterator[Table]:
    by_library: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_library[record["library"]].append(record)
    outcomes = ("measured", "failed", "crashed")
    rows = []
    for name, group in sorted(by_library.items()):
        counts = Counter(record["outcome"] for record in group)
        clean = sum(record["outcome"] == "measured" and not record["flags"] for record in group)
        changed = sum(bool(record.get("changed")) for record in group)
        rows.append((name, str(len(group)), *(str(counts[o]) for o in outcomes), str(clean), str(changed)))
    yield Table(title="Inputs", columns=("library", "models", *outcomes, "no flag", "changed"), rows=rows)
    found = [record for group in by_library.values() for record in group if record["outcome"] == "measured"]
    kinds = Counter(kind for record in found for kind in record["flags"])
    rows = [(kind, str(count)) for kind, count in kinds.most_common()]
    yield Table(title="Flags", columns=("kind", "models"), rows=rows)
    yield Table(title="Extremes", columns=("signal", "smallest", "largest"), rows=list(_extremes(found)))


def _extremes(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Of all models but the outermost 1 in 100 at each end."""
    for name in EXTREMES:
        low = sorted(record[f"{name}_min"] for record in found if record[f"{name}_min"])
        high = sorted(record[f"{name}_max"] for record in found if record[f"{name}_max"])
        if low:
            yield name, f"{low[len(low) // 100]:.2g}", f"{high[-1 - len(high) // 100]:.2g}"


if __name__ == "__main__":
    sys.exit(main())
