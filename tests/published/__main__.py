"""`python -m tests.published`: do libraries start their models as their sources say?"""

from __future__ import annotations

import sys

import torch

from autoinit import Verdict, verify
from autoinit.tables import Table

from ..zoo import operators
from .statements import STATEMENTS, Statement

SEED = 0
ALPHA = 1e-3


def examine(statement: Statement) -> Verdict:
    """The verdict on weights that the library made itself."""
    torch.manual_seed(SEED)
    model = statement.build()
    return verify(model, statement.says(model), alpha=ALPHA)


def main() -> int:
    """Print one row a model, then every disagreement."""
    operators.torchvision_operators()
    rows, disagreements = [], []
    for statement in STATEMENTS:
        verdict = examine(statement)
        wrong = {failure.fqn for failure in verdict.failures}
        tested = len(verdict.parameters) - len(verdict.untested)
        rows.append((statement.name, statement.source, str(tested), str(len(verdict.untested)), str(len(wrong))))
        disagreements += [f"{statement.name}: {failure}" for failure in verdict.failures]
    columns = ("model", "source", "tested", "not tested", "disagree")
    print(Table(title=f"Weights against their sources, alpha = {ALPHA:g} a model", columns=columns, rows=rows))
    print(*disagreements, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
