"""`python -m tests.zoo.signals`: a batch through small models of many families, as their libraries initialize them.

It says how many models take the usual inputs of their library, what is flagged at the default bounds, how small and
large signals of models as published are, and whether a model is afterwards what it was before.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autoinit import Propagation, propagate
from autoinit.tables import Table

from .findings import Findings
from .fingerprints import fingerprint, seed_everything, states_of_generators, switches
from .isolation import Limits, Tell, sweep
from .records import REPOSITORY, Found, to_dict
from .selection import matching, subset
from .sizes import read_sizes
from .subjects import LIBRARIES, library

BATCH = 4
EXTREMES = ("std", "gradient")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a model was changed."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.signals", description=__doc__)
    parser.add_argument("--match", default="*", help="glob over names")
    parser.add_argument("--jobs", "-j", type=int, default=2)
    results = REPOSITORY / "build" / "signals.json"
    parser.add_argument("--json", type=Path, default=results, help="where results go")
    options = parser.parse_args(arguments)
    # The models that a test run builds.
    chosen = subset((subject for name in LIBRARIES for subject in library(name).subjects()), read_sizes())
    found = dict(sweep(matching(chosen, options.match), measure, jobs=options.jobs, limits=Limits(seconds=180)))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([to_dict(*item) for item in found.items()]) + "\n")
    for table in tables(found):
        print(f"\n{table}")
    return int(any(findings.coverage.get("changed") for findings in found.values()))


def measure(tell: Tell, library_name: str, name: str) -> Findings:
    warnings.simplefilter("ignore")
    findings = Findings()
    seed_everything()
    model = library(library_name).builder(name)()
    findings.describe(model)
    tell("propagate", findings)
    before = state(model)
    found = propagate(model, usual_inputs(model))
    findings.coverage = {"changed": state(model) != before, **summary(found)}
    return findings


def state(model: Any) -> object:
    """All that propagation may not change."""
    params = [(id(param), param.grad is None) for param in model.parameters()]
    training = [module.training for module in model.modules()]
    return fingerprint(model, states_of_generators(), switches()), params, training


def usual_inputs(model: Any) -> object:
    """Token ids or images, of the size that the model states; one that takes others fails."""
    generator, name = torch.Generator().manual_seed(0), getattr(model, "main_input_name", "")
    if name == "input_ids":
        words = model.config.get_text_config().vocab_size
        return {name: torch.randint(words, (BATCH, 16), generator=generator)}
    if name:
        size = (model.config.num_channels, model.config.image_size, model.config.image_size)
        return {name: torch.randn(BATCH, *size, generator=generator)}
    size = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    return torch.randn(BATCH, *size, generator=generator)


def summary(found: Propagation) -> dict[str, Any]:
    values = {name: [v for s in found.values() if (v := getattr(s, name))] for name in EXTREMES}
    return {
        "inputs": found.inputs,
        "modules": len(found),
        "flags": dict(Counter(flag.kind for flag in found.flags)),
        "first": str(found.flags[0]) if found.flags else "",
        "dead": max((s.dead for s in found.values() if s.dead is not None), default=0.0),
        **{f"{name}_{end.__name__}": end(of, default=None) for name, of in values.items() for end in (min, max)},
    }


def tables(found: Found) -> Iterator[Table]:
    rows = []
    for name in LIBRARIES:
        some = [findings for subject, findings in found.items() if subject.library == name]
        measured = [findings.coverage for findings in some if findings.coverage]
        counts = (len(some), len(measured), sum(not each["flags"] for each in measured))
        rows.append((name, *map(str, counts), str(sum(each["changed"] for each in measured))))
    yield Table(title="Inputs", columns=("library", "models", "measured", "no flag", "changed"), rows=rows)
    all_measured = [findings.coverage for findings in found.values() if findings.coverage]
    kinds = Counter(kind for measured in all_measured for kind in measured["flags"])
    rows = [(kind, str(count)) for kind, count in kinds.most_common()]
    yield Table(title="Flags", columns=("kind", "models"), rows=rows)
    yield Table(title="Extremes", columns=("signal", "smallest", "largest"), rows=list(_extremes(all_measured)))


def _extremes(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Of all models but the outermost 1 in 100 at each end."""
    for name in EXTREMES:
        low = sorted(record[f"{name}_min"] for record in found if record[f"{name}_min"])
        high = sorted(record[f"{name}_max"] for record in found if record[f"{name}_max"])
        if low:
            yield name, f"{low[len(low) // 100]:.2g}", f"{high[-1 - len(high) // 100]:.2g}"


if __name__ == "__main__":
    sys.exit(main())
