"""`verify`: test a model's weights against a config, plan or report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ..applying import check_module
from ..errors import ConfigError
from ..fills import Blocks, Elementwise, Padded
from ..initializers.given_numbers import real
from ..planning import Fan, Policy, Unmatched
from .failures import ORDER, Failure
from .fill_tests import ENOUGH, VARIANCE, audit, findings_of
from .likely_mistakes import looks_like
from .parameters import Asked, Parameter, parameters_of
from .pvalues import power, quantile
from .repeated_values import Head, bits_of, copies, head_of, repeats
from .rounded import rounded
from .verdict import Checked, Finding, Verdict, rejected


def verify(
    module: nn.Module, what: Asked = None, *, alpha: float = 1e-3, unmatched: Unmatched = "auto", fan: Fan = "auto"
) -> Verdict:
    """Decide whether a model's weights are what was asked for, however they were initialized.

    Every parameter that a rule covers is tested against the closed form of its fill, as rounded to its dtype: its
    mean (z or saddlepoint), its variance (chi-square or saddlepoint), its shape (Kolmogorov-Smirnov), its range, and
    whether slices of it repeat; constants and whole-tensor schemes are checked exactly. Between parameters clones and
    correlations are looked for. All others are audited: NaN, infinities, memory that was never written, outliers.

    Transient memory: a few MiB, and one more copy of a tensor that is computed, sharded or filled as a whole.

    Args:
        module: any model with memory.
        what: the config, plan or report that says what it was to get; None to audit it.
        alpha: the probability that a model whose weights are right fails, over all its tests (Holm 1979).
        unmatched: what to do about rules that select nothing; see `plan`.
        fan: how fans are read where a rule does not say; see `plan`.

    Raises:
        ConfigError: `alpha` is not between 0 and 1; or what `plan` raises.
        MatchError: the plan or report is of another model.
        StateError: the model is on the meta device, or scipy is not installed.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
        >>> verdict = verify(model, dict(type="Kaiming", layer="Linear", mode="fan_in", bias=None))
        >>> verdict.ok
        False
        >>> print(verdict.failures[0])  # doctest: +NORMALIZE_WHITESPACE
        0.weight: std 0.07183, not 0.176777: off by -59.4 % (variance, impossible by chance). init_cfg asks for
        Normal(mean=0, std=0.176777). It is as if torch's default for Linear and Conv had stayed.
    """
    check_module(module, "verify", what)
    level = real(alpha, f"alpha={alpha!r}")
    if not 0 < level < 1:
        raise ConfigError(f"alpha={alpha!r} must be between 0 and 1: a rate of false alarms, such as 1e-3.")
    parameters, name = parameters_of(module, what, Policy(unmatched=unmatched, fan=fan))
    errors: dict[str, float] = {}
    heads: dict[str, Head] = {}
    for parameter in parameters:
        if parameter.has_values:
            _test(parameter, errors, heads)
    by_fqn = {parameter.entry.fqn: parameter for parameter in parameters}
    for fqn, finding in copies(heads):
        by_fqn[fqn].findings.append(finding)
    return _verdict(name, level, parameters, errors)


def _test(parameter: Parameter, errors: dict[str, float], heads: dict[str, Head]) -> None:
    """Add its findings, the relative standard error of its std, and its first values."""
    fill, values = parameter.fill, parameter.values()
    pieces = list(parameter.pieces(values))
    for part, piece in pieces:
        found = list(findings_of(piece, part, parameter.slack))
        # The false-alarm rate does not depend on this limit: the hint is shown if a failure is found below.
        is_suspicious = any(finding.pvalue < 1e-3 for finding in found)
        hint = looks_like(piece, part, parameter.entry) if is_suspicious else ""
        parameter.findings.extend(replace(finding, hint=hint) for finding in found)
    if fill is None:
        parameter.findings.extend(audit(values))
    elif fill.is_random and not values.is_complex():
        drawn = [(part, piece) for part, piece in pieces if part.is_random or isinstance(fill, Blocks)]
        bits = min((bits_of(piece, part) for part, piece in drawn), default=0.0)
        # Rows for padding are equal on purpose.
        random = [piece for part, piece in pieces if part is fill.fill] if isinstance(fill, Padded) else [values]
        parameter.findings.extend(finding for each in random for finding in repeats(each, bits))
    if pieces and isinstance(pieces[0][0], Elementwise):
        first, piece = pieces[0]
        law, fqn, count = rounded(first, piece.dtype), parameter.entry.fqn, piece.numel()
        heads[fqn] = Head(values=(head_of(piece) - law.mean) / (law.std or 1.0), bits=law.bits, numel=count)
        if law.std and count >= ENOUGH:
            errors[fqn] = math.sqrt((law.kurtosis - 1) / count) / 2


def _verdict(name: str, alpha: float, parameters: Sequence[Parameter], errors: dict[str, float]) -> Verdict:
    findings = [finding for parameter in parameters for finding in parameter.findings]
    level = rejected(findings, alpha)
    strict = alpha / max(math.fsum(finding.weight for finding in findings), 1.0)
    failures = [
        _failure(finding, parameter, strict)
        for parameter in parameters
        for finding in parameter.findings
        if finding.pvalue / finding.weight <= level
    ]
    failures.sort(key=lambda failure: (failure.pvalue, ORDER.get(failure.test, 0)))
    # From the center of the distribution to the edge of rejection, and from there to the lowest percentile.
    reach = quantile(min(strict * VARIANCE, 1.0) / 2) + quantile(0.01)
    checked = {
        parameter.entry.fqn: Checked(
            asked="" if parameter.untested else parameter.entry.gets,
            tests=len(parameter.findings),
            pvalue=min((finding.pvalue for finding in parameter.findings), default=None),
            detects=errors[parameter.entry.fqn] * reach if parameter.entry.fqn in errors else None,
            untested=parameter.untested,
        )
        for parameter in parameters
    }
    return Verdict(model=name, alpha=alpha, level=max(level, strict), parameters=checked, failures=tuple(failures))


def _failure(finding: Finding, parameter: Parameter, strict: float) -> Failure:
    entry = parameter.entry
    asked = "" if parameter.untested else str(entry.fill)
    chance = f"p = {finding.pvalue:.2g}" if finding.pvalue else "impossible by chance"
    parts = [f"{entry.fqn}: {finding.text} ({finding.test}, {chance})."]
    parts += [f"{entry.origin} asks for {asked}."] if asked else []
    parts += [f"It is as if {finding.hint}."] if finding.hint else []
    return Failure(
        fqn=entry.fqn,
        test=finding.test,
        statistic=finding.statistic,
        pvalue=finding.pvalue,
        effect=finding.effect,
        power=power(finding.pvalue, min(strict * finding.weight, 1.0)),
        origin=entry.origin,
        message=" ".join(parts),
        layer=entry.layer,
        asked=asked,
        found=finding.text,
        hint=finding.hint,
    )
