"""`python -m tests.published`: do libraries start their models as their sources say?"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

import torch

from autoinit import AutoInitWarning, Verdict, verify
from autoinit.tables import Table
from tests.zoo.operators import torchvision_operators

from .statements import STATEMENTS, Statement

ALPHA = 1e-3


def examine(statement: Statement, seed: int) -> Verdict:
    torch.manual_seed(seed)
    model = statement.build()
    with warnings.catch_warnings():
        # One config serves the models with batch norm and those without.
        warnings.simplefilter("ignore", AutoInitWarning)
        return verify(model, statement.says(model), alpha=ALPHA)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row a model, then the first failure of each parameter that disagrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how often each model is built")
    options = parser.parse_args(arguments)
    torchvision_operators()
    rows, disagreements = [], []
    for statement in STATEMENTS:
        verdicts = [examine(statement, seed) for seed in range(options.seeds)]
        first = [{failure.fqn: failure for failure in reversed(verdict.failures)} for verdict in verdicts]
        tested = sum(len(verdict.parameters) - len(verdict.untested) for verdict in verdicts)
        untested = sum(len(verdict.untested) for verdict in verdicts)
        wrong = sum(map(len, first))
        rows.append((statement.name, statement.source, str(tested), str(untested), str(wrong)))
        disagreements += [
            f"{statement.name}, seed {seed}: {failure}"
            for seed, found in enumerate(first)
            for failure in found.values()
        ]
    title = f"Weights against their sources: {options.seeds} models each, alpha = {ALPHA:g}"
    print(Table(title=title, columns=("model", "source", "tested", "not tested", "disagree"), rows=rows))
    print(*disagreements, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
