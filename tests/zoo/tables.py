"""What a sweep has found, as tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autoinit.tables import Table

from .exceptions import Accepted, unaccepted
from .findings import CHECKS, Findings
from .records import Record

MOST_ROWS = 40


def all_tables(
    records: Sequence[Record],
    exceptions: Sequence[Accepted],
    gone: Sequence[Accepted],
    versions: Mapping[str, str] | None = None,
) -> Iterator[Table]:
    """All that there is to see; the first two are those of `docs/zoo.md`."""
    yield totals(records, exceptions, versions or {})
    yield reasons(records)
    yield from (uncovered(records, check) for check in ("typical", "everything"))
    yield unfilled(records)
    yield slowest(records)
    yield problems(records, exceptions)
    yield Table(
        title="Exceptions that no longer occur: remove them from exceptions.toml",
        columns=("model", "check", "reason"),
        rows=[(accepted.model, accepted.check, accepted.reason) for accepted in gone],
    )


def totals(records: Sequence[Record], exceptions: Sequence[Accepted], versions: Mapping[str, str]) -> Table:
    """One row a library."""
    libraries = dict.fromkeys(record.subject.library for record in records)
    rows = [_row(name, [r for r in records if r.subject.library == name], exceptions) for name in libraries]
    if len(rows) > 1:
        rows.append(_row("all", records, exceptions))
    columns = (
        *("library", "tried", "built", "identical", "parameters", "deferred", "filled by type", "of values"),
        *("filled by **", "ours", "theirs", "accepted", "plain", "no rules", "by type", "**"),
    )
    tests = sum(record.findings.tests for record in records)
    known = [f"{package} {version}" for package, version in versions.items() if package != "sources"]
    return Table(
        title=", ".join(["The zoo", *known]), columns=columns, rows=rows, caption=f"{tests:,} tests of distributions"
    )


def _row(library: str, records: Sequence[Record], exceptions: Sequence[Accepted]) -> tuple[str, ...]:
    built = [record.findings for record in records if record.findings.built]
    identical = sum(all(problem.check != "identity" for problem in findings.problems) for findings in built)
    left = [problem for record in records for problem in unaccepted(record, exceptions)]
    ours = sum(not problem.theirs for problem in left)
    accepted = sum(len(record.findings.problems) for record in records) - len(left)
    seconds = [sum(findings.seconds.get(check, 0) for findings in built) for check in CHECKS]
    return (
        library,
        *(f"{count:,}" for count in (len(records), len(built), identical, sum(each.parameters for each in built))),
        _deferred(built),
        *(_share(built, check, what) for check, what in (("typical", 0), ("typical", 1), ("everything", 0))),
        *map(str, (ours, len(left) - ours, accepted)),
        *(f"{each:.1f} s" for each in seconds),
    )


def _deferred(built: Sequence[Findings]) -> str:
    """How many values were still to be filled at the end of a block without rules, in percent."""
    values = sum(findings.values for findings in built)
    return f"{sum(findings.pending for findings in built) / values:.2%}" if values else ""


def _share(built: Iterable[Findings], check: str, what: int) -> str:
    """How much was filled, in percent: of parameters (0) or of their values (1)."""
    covered = [findings.coverage[check] for findings in built if check in findings.coverage]
    filled = sum(found[("filled", "values")[what]] for found in covered)
    whole = filled + sum(kind[3 + what] for found in covered for kind in found["uncovered"])
    return f"{filled / whole:.2%}" if whole else ""


def uncovered(records: Iterable[Record], check: str) -> Table:
    """One row for each kind of parameter that was not filled, most frequent first."""
    params: Counter[tuple[str, str, str]] = Counter()
    values: Counter[tuple[str, str, str]] = Counter()
    models: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for record in records:
        for layer, name, reason, count, numel in record.findings.coverage.get(check, {}).get("uncovered", ()):
            key = layer, name, reason
            params[key] += count
            values[key] += numel
            models[key].add(record.subject.key)
    rows = [
        (*key, f"{count:,}", f"{values[key]:,}", str(len(models[key])), min(models[key]))
        for key, count in params.most_common(MOST_ROWS)
    ]
    columns = ("layer", "parameter", "reason", "parameters", "values", "models", "for example")
    rest = sum(params.values()) - sum(count for _, count in params.most_common(MOST_ROWS))
    caption = f"{rest:,} more in {len(params) - MOST_ROWS} kinds" if len(params) > MOST_ROWS else ""
    return Table(title=f"Not filled by the rules of {check!r}", columns=columns, rows=rows, caption=caption)


def unfilled(records: Iterable[Record]) -> Table:
    """One row for each model whose constructor leaves memory as it was found, most parameters first."""
    found = [record for record in records if record.findings.unfilled]
    found.sort(key=lambda record: (-len(record.findings.unfilled), record.subject.key))
    rows = [(r.subject.key, f"{len(r.findings.unfilled):,}", r.findings.unfilled[0]) for r in found[:MOST_ROWS]]
    return Table(
        title="Left unfilled by their constructors",
        columns=("model", "parameters", "for example"),
        rows=rows,
        caption=f"{len(found) - MOST_ROWS} more models" if len(found) > MOST_ROWS else "",
    )


def reasons(records: Sequence[Record]) -> Table:
    """One row for each reason why parameters were not filled, and library."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        for check, found in record.findings.coverage.items():
            for _, _, reason, count, _ in found["uncovered"]:
                counts[check, record.subject.library, reason] += count
    rows = [(*key, f"{count:,}") for key, count in sorted(counts.items())]
    return Table(
        title="Why parameters were not filled", columns=("check", "library", "reason", "parameters"), rows=rows
    )


def problems(records: Iterable[Record], exceptions: Sequence[Accepted]) -> Table:
    """One row for each problem that no exception covers."""
    rows = [
        (record.subject.key, problem.check, "theirs" if problem.theirs else "OURS", problem.text[:300])
        for record in records
        for problem in unaccepted(record, exceptions)
    ]
    return Table(title="Problems", columns=("model", "check", "whose", "problem"), rows=rows)


def slowest(records: Iterable[Record]) -> Table:
    """Where a block costs most over plain construction, in seconds."""
    found = []
    for record in records:
        seconds = record.findings.seconds
        if "plain" in seconds:
            found += [(took - seconds["plain"], check, record) for check, took in seconds.items() if check != "plain"]
    found.sort(key=lambda row: row[0], reverse=True)
    rows = [
        (
            record.subject.key,
            check,
            f"{record.findings.seconds['plain']:.2f} s",
            f"{record.findings.seconds[check]:.2f} s",
            f"{record.findings.parameters:,}",
            f"{record.findings.values:,}",
        )
        for _, check, record in found[:15]
    ]
    columns = ("model", "check", "plain", "in the block", "parameters", "values")
    return Table(title="Slowest in a block", columns=columns, rows=rows)
