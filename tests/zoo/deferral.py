"""Checks of a model with rules for some parameters, while the fills of its constructors are deferred (D1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from torch import Tensor, nn

from autoinit import autoinit
from autoinit.planning import FILLED
from tests.two_samples import different

from .examination import construct, defer_all_sizes, values_of
from .filled import Distributions, report_of
from .findings import Difference, Findings, problems_of
from .fingerprints import SEED
from .isolation import Tell
from .subjects import library

SOME = [dict(type="Normal", std=0.05, layer=["Linear", "Conv1D"], params="weight")]


def examine(tell: Tell, library_name: str, name: str) -> Findings:
    """Check that nothing is left unfilled, and that all values have the distribution of a rule or a constructor."""
    findings = Findings()
    tell("plain", findings)
    build = library(library_name).builder(name)
    plain = construct(build, nullcontext()).model
    findings.describe(plain)
    tell("deferred", findings)
    defer_all_sizes()
    made = construct(build, autoinit(SOME, seed=SEED, unmatched="ignore"))
    findings.problems = problems_of("deferred", differences(plain, made.model, made.run, findings))
    return findings


def differences(plain: nn.Module, model: nn.Module, run: object, findings: Findings) -> Iterator[Difference]:
    """Everything that is not as it should be; counts in `findings` what was compared."""
    distributions, report = Distributions(), report_of(model, run)
    ours = {fqn for fqn, entry in report.items() if entry.outcome == FILLED}
    for fqn in ours:
        for deviation in distributions.deviations(values_of(report[fqn], model), report[fqn].fill):
            yield Difference("distribution", fqn, deviation)
    theirs = {name: tensor for name, tensor in tensors(plain).items() if name not in ours}
    values = tensors(model)
    for name, one in theirs.items():
        if name not in findings.unfilled:
            if bool(values[name].isnan().any()) != bool(one.isnan().any()):
                yield Difference("unfilled", name, "has NaN")
            elif what := different(one, values[name]):
                yield Difference("uncovered", name, f"{what} is another")
    findings.tests = distributions.tests + len(theirs)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of real numbers that are there, and have any."""
    both = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: tensor.detach()
        for name, tensor in both.items()
        if not (nn.parameter.is_lazy(tensor) or tensor.is_meta) and tensor.is_floating_point() and tensor.numel()
    }
