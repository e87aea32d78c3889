"""`python -m tests.zoo.to_cfg`: how much of the zoo's models the config does that `Trace.to_cfg()` writes.

Each model is traced while it is built, the config is written as YAML, read again and planned on the same model. A
parameter counts if the plan has the fill that the model's own code gave it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from autoinit import Plan, plan
from autoinit.config import parse_config
from autoinit.tables import Table
from autoinit.tracing import Trace, trace
from autoinit.tracing.written_initializers import TracedTensor, is_same_fill

from .__main__ import libraries
from .exceptions import read_exceptions
from .findings import PLAIN, Findings
from .fingerprints import seed_everything
from .isolation import Limits, Tell, sweep
from .progress import Progress
from .records import REPOSITORY
from .selection import SMALL, matching, subset
from .sizes import read_sizes
from .subjects import LIBRARIES, library

RESULTS = REPOSITORY / "build" / "to_cfg.json"
GOAL = 0.95
"""Share of the parameters that must get the same fills."""
MOST_ROWS = 30


def measure(tell: Tell, library_name: str, name: str) -> Findings:
    """Trace a model, write its config, and plan that on the model."""
    findings = Findings()
    build = library(library_name).builder(name)
    tell("trace", findings)
    seed_everything()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with trace() as traced:
            model = build()
        findings.describe(model)
        tell("to_cfg", findings)
        findings.coverage["to_cfg"] = compared(max(traced.traces, key=len), model)
    return findings


def compared(traced: Trace, model: nn.Module) -> dict[str, Any]:
    """How many parameters and rules there are, and the parameters that get other fills."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "init.yaml"
        file.write_text(traced.to_yaml())
        rules = parse_config(file)
    different = dict(differing(traced, plan(model, rules, own_init="skip")))
    return {"total": len(traced), "rules": len(rules), "different": different}


def differing(traced: Trace, planned: Plan) -> Iterator[tuple[str, str]]:
    """The parameters to which a config does not give what the model's code gave, with its calls."""
    for fqn, parameter in traced.parameters.items():
        given = None
        if parameter.initializer is not None and parameter.shape is not None:
            given = TracedTensor(shape=parameter.shape, dtype=parameter.dtype).fill(parameter.initializer)
        if given is None or not is_same_fill(planned[fqn].fill, given):
            functions = dict.fromkeys(call.function for call in parameter.effective)
            yield fqn, ", then ".join(functions) or "no call was seen"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and fail if the share is below the goal or a model failed."""
    options = parse(arguments)
    if options.show:
        return show(json.loads(options.show.read_text()))
    sizes = read_sizes()
    everything = [subject for name in options.only for subject in library(name).subjects()]
    small = [subject for subject in everything if sizes.get(subject.key, 0) <= SMALL]
    chosen = matching(small if options.every else subset(everything, sizes), options.match)
    impossible = [accepted for accepted in read_exceptions() if accepted.check == PLAIN]
    chosen = [subject for subject in chosen if not any(accepted.is_about(subject) for accepted in impossible)]
    results = {}
    progress = Progress(chosen)
    limits = Limits(seconds=options.seconds, memory=options.memory)
    for subject, findings in sweep(chosen, measure, jobs=options.jobs, limits=limits):
        results[subject.key] = findings.to_dict()
        progress.done(subject)
        for problem in findings.problems:
            print(f"{subject.key}: {problem.check}: {problem.text[-300:]}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results) + "\n")
    return show(results)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.to_cfg", description=__doc__)
    parser.add_argument("--only", type=libraries, default=",".join(LIBRARIES), help="libraries, with commas")
    parser.add_argument("--match", default="*", help="glob over names")
    parser.add_argument("--every", action="store_true", help=f"every model up to {SMALL:g} M values, not a subset")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--memory", type=int, default=8192, help="MiB per process")
    parser.add_argument("--seconds", type=float, default=300, help="per model")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where results go")
    parser.add_argument("--show", type=Path, help="print the tables of such a file, and measure nothing")
    return parser.parse_args(arguments)


def show(results: dict[str, Any]) -> int:
    """Print the tables; 1 if the goal is missed or a model failed."""
    found = {key: result["coverage"]["to_cfg"] for key, result in results.items() if result["coverage"]}
    print(f"\n{shares(found, results)}\n\n{reasons(found)}\n\n{worst(found)}")
    total, different = sum(m["total"] for m in found.values()), sum(len(m["different"]) for m in found.values())
    return int(len(found) < len(results) or different > (1 - GOAL) * total)


def shares(found: dict[str, Any], results: dict[str, Any]) -> Table:
    """One row a library."""
    rows = []
    for name in [*dict.fromkeys(key.partition("/")[0] for key in results), "all"]:
        tried = [key for key in results if name in ("all", key.partition("/")[0])]
        models = [found[key] for key in tried if key in found]
        total, different = sum(m["total"] for m in models), sum(len(m["different"]) for m in models)
        share = f"{1 - different / total:.2%}" if total else ""
        rules = sorted(m["rules"] for m in models)
        whole = sum(not m["different"] for m in models)
        middle = str(rules[len(rules) // 2]) if rules else ""
        rows.append((name, f"{len(tried):,}", f"{len(models):,}", f"{total:,}", share, f"{whole:,}", middle))
    head = ("library", "tried", "traced", "parameters", "same fills", "models without a difference", "rules (median)")
    return Table(title="Configs that Trace.to_cfg() writes, planned on the same models", columns=head, rows=rows)


def reasons(found: dict[str, Any]) -> Table:
    """What the code did to the parameters that get other fills."""
    counts = Counter(calls for model in found.values() for calls in model["different"].values())
    rows = [(calls, f"{count:,}") for calls, count in counts.most_common(MOST_ROWS)]
    return Table(title="Calls that no rule says", columns=("calls", "parameters"), rows=rows)


def worst(found: dict[str, Any]) -> Table:
    """The models with the most parameters that get other fills, and those with the most rules."""
    by_rules = sorted(found, key=lambda key: -found[key]["rules"])[: MOST_ROWS // 3]
    by_share = sorted(found, key=lambda key: -len(found[key]["different"]) / max(1, found[key]["total"]))
    rows = [
        (key, str(found[key]["total"]), str(len(found[key]["different"]) or ""), str(found[key]["rules"]))
        for key in dict.fromkeys([*by_share[: MOST_ROWS // 3], *by_rules])
    ]
    return Table(title="Models", columns=("model", "parameters", "other fills", "rules"), rows=rows)


if __name__ == "__main__":
    sys.exit(main())
