"""The findings of a sweep, as tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from autoinit.tables import Table

from .exceptions import Accepted, unaccepted
from .findings import CHECKS
from .records import Found

MOST_ROWS = 40


def all_tables(
    found: Found, exceptions: Sequence[Accepted], gone: Sequence[Accepted], versions: Mapping[str, str]
) -> Iterator[Table]:
    """All that there is to see; the first two are those of `docs/zoo.md`."""
    yield totals(found, exceptions, versions)
    yield reasons(found)
    yield from (uncovered(found, check) for check in ("typical", "everything"))
    yield unfilled(found)
    yield slowest(found)
    yield problems(found, exceptions)
    yield Table(
        title="Exceptions that no longer occur: remove them from exceptions.toml",
        columns=("model", "check", "reason"),
        rows=[(accepted.model, accepted.check, accepted.reason) for accepted in gone],
    )


def totals(found: Found, exceptions: Sequence[Accepted], versions: Mapping[str, str]) -> Table:
    libraries = dict.fromkeys(subject.library for subject in found)
    of_library = {name: {s: found[s] for s in found if s.library == name} for name in libraries}
    rows = [_row(name, some, exceptions) for name, some in of_library.items()]
    if len(rows) > 1:
        rows.append(_row("all", found, exceptions))
    columns = (
        *("library", "tried", "built", "identical", "parameters", "deferred", "filled by type", "of values"),
        *("filled by **", "ours", "theirs", "accepted", "plain", "no rules", "by type", "**"),
    )
    known = [f"{package} {version}" for package, version in versions.items() if package != "sources"]
    tests = f"{sum(findings.tests for findings in found.values()):,} tests of distributions"
    return Table(title=", ".join(["The zoo", *known]), columns=columns, rows=rows, caption=tests)


def _row(library: str, found: Found, exceptions: Sequence[Accepted]) -> tuple[str, ...]:
    built = [findings for findings in found.values() if findings.built]
    identical = sum(all(problem.check != "identity" for problem in findings.problems) for findings in built)
    left = [problem for subject in found for problem in unaccepted(subject, found[subject], exceptions)]
    ours = sum(not problem.theirs for problem in left)
    accepted = sum(len(findings.problems) for findings in found.values()) - len(left)
    pending, values = (sum(getattr(each, name) for each in built) for name in ("pending", "values"))

    def share(check: str, what: int) -> str:
        """How much was filled, in percent: of parameters (0) or of their values (1)."""
        covered = [findings.coverage[check] for findings in built if check in findings.coverage]
        filled = sum(of_model[("filled", "values")[what]] for of_model in covered)
        return _percent(filled, filled + sum(kind[3 + what] for each in covered for kind in each["uncovered"]))

    return (
        library,
        *(f"{count:,}" for count in (len(found), len(built), identical, sum(each.parameters for each in built))),
        *(_percent(pending, values), share("typical", 0), share("typical", 1), share("everything", 0)),
        *map(str, (ours, len(left) - ours, accepted)),
        *(f"{sum(findings.seconds.get(check, 0) for findings in built):.1f} s" for check in CHECKS),
    )


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


def uncovered(found: Found, check: str) -> Table:
    """One row for each kind of parameter that was not filled, most frequent first."""
    params: Counter[tuple[str, str, str]] = Counter()
    values: Counter[tuple[str, str, str]] = Counter()
    models: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for subject, findings in found.items():
        for layer, name, reason, count, numel in findings.coverage.get(check, {}).get("uncovered", ()):
            key = layer, name, reason
            params[key] += count
            values[key] += numel
            models[key].add(subject.key)
    shown = params.most_common(MOST_ROWS)
    rows = [(*key, f"{count:,}", f"{values[key]:,}", str(len(models[key])), min(models[key])) for key, count in shown]
    rest = params.total() - sum(count for _, count in shown)
    return Table(
        title=f"Not filled by the rules of {check!r}",
        columns=("layer", "parameter", "reason", "parameters", "values", "models", "for example"),
        rows=rows,
        caption=f"{rest:,} more in {len(params) - MOST_ROWS} kinds" if len(params) > MOST_ROWS else "",
    )


def unfilled(found: Found) -> Table:
    """One row for each model whose constructor leaves memory as it was found, most parameters first."""
    left = sorted(
        (-len(each.unfilled), subject.key, each.unfilled[0]) for subject, each in found.items() if each.unfilled
    )
    return Table(
        title="Left unfilled by their constructors",
        columns=("model", "parameters", "for example"),
        rows=[(key, f"{-count:,}", first) for count, key, first in left[:MOST_ROWS]],
        caption=f"{len(left) - MOST_ROWS} more models" if len(left) > MOST_ROWS else "",
    )


def reasons(found: Found) -> Table:
    """One row for each reason why parameters were not filled, and library."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for subject, findings in found.items():
        for check, of_model in findings.coverage.items():
            for _, _, reason, count, _ in of_model["uncovered"]:
                counts[check, subject.library, reason] += count
    rows = [(*key, f"{count:,}") for key, count in sorted(counts.items())]
    columns = ("check", "library", "reason", "parameters")
    return Table(title="Why parameters were not filled", columns=columns, rows=rows)


def problems(found: Found, exceptions: Sequence[Accepted]) -> Table:
    rows = [
        (subject.key, problem.check, "theirs" if problem.theirs else "OURS", problem.text[:300])
        for subject, findings in found.items()
        for problem in unaccepted(subject, findings, exceptions)
    ]
    return Table(title="Problems", columns=("model", "check", "whose", "problem"), rows=rows)


def slowest(found: Found) -> Table:
    """Where a block costs most over plain construction, in seconds."""
    costs = [
        (seconds["plain"] - took, subject.key, check, seconds["plain"], took, findings)
        for subject, findings in found.items()
        if "plain" in (seconds := findings.seconds)
        for check, took in seconds.items()
        if check != "plain"
    ]
    rows = [
        (key, check, f"{plain:.2f} s", f"{took:.2f} s", f"{findings.parameters:,}", f"{findings.values:,}")
        for _, key, check, plain, took, findings in sorted(costs, key=lambda row: row[0])[:15]
    ]
    columns = ("model", "check", "plain", "in the block", "parameters", "values")
    return Table(title="Slowest in a block", columns=columns, rows=rows)
