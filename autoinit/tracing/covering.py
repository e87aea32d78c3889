"""A short list of rules that gives every parameter what the model's own code gives it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..layers import is_layer, lineage
from .drafts import Bias, Draft, Row, count_right, given
from .name_globs import shortest_globs
from .written_initializers import DEFAULT, KEEP, Written


def cover(rows: Sequence[Row]) -> list[Draft]:
    """Rules by layer type, then rules by name for what these leave wrong; what no rule can say is given up.

    Args:
        rows: All parameters of a model, in its order. `Row.ways` of those that no rule reaches alone are changed.
    """
    drafts = _merged([*_by_layer(rows), *_by_param(rows)], rows)
    for kind in (_is_weight, _is_other, _is_bias):
        while wrong := [row for row in rows if kind(row) and not row.accepts(given(drafts, row))]:
            drafts = [*drafts, *_narrower(wrong, rows, drafts)]
    return _without_idle(_merged(drafts, rows), rows)


def _is_weight(row: Row) -> bool:
    return row.sites[0].param == "weight"


def _is_bias(row: Row) -> bool:
    return row.sites[0].param == "bias"


def _is_other(row: Row) -> bool:
    return not _is_weight(row) and not _is_bias(row)


def _best(rows: Iterable[Row]) -> tuple[Written | None, int]:
    """The initializer that fills most of some parameters, the best written one of those, and how many."""
    counts: Counter[Written] = Counter()
    places: Counter[Written] = Counter()
    for row in rows:
        for place, written in enumerate(row.ways if row.is_sayable else ()):
            counts[written] += 1
            places[written] += place
    if not counts:
        return None, 0
    # A counter keeps the order in which it met its keys, so that the choice depends on nothing else.
    best = min(counts, key=lambda written: (-counts[written], places[written] / counts[written]))
    return best, counts[best]


def _by_layer(rows: Sequence[Row]) -> list[Draft]:
    """A rule for each class whose weights or biases it makes right, ancestors before their subclasses."""
    classes = dict.fromkeys(row.sites[0].cls for row in rows if not _is_other(row))
    drafts: list[Draft] = []
    for cls in sorted(classes, key=lambda cls: len(lineage(cls))):
        own = [row for row in rows if row.sites[0].cls is cls]
        weights, biases = list(filter(_is_weight, own)), list(filter(_is_bias, own))
        layer = ((_layer_name(cls, classes), cls),)
        drafts += _rules_of_class(layer, weights, biases, drafts)
    return drafts


def _rules_of_class(
    layer: tuple[tuple[str, type], ...], weights: Sequence[Row], biases: Sequence[Row], drafts: Sequence[Draft]
) -> list[Draft]:
    found: list[Draft] = []
    weight, count = _best(weights)
    if weight is not None and count > count_right(drafts, filter(_is_sayable, weights)):
        found.append(Draft(written=weight, layer=layer, bias=_bias_beside(weight, biases)))
    bias, count = _best(biases)
    if bias is not None and count > count_right([*drafts, *found], filter(_is_sayable, biases)):
        found.append(Draft(written=bias, layer=layer, params=("bias",)))
    return found


def _is_sayable(row: Row) -> bool:
    return row.is_sayable


def _bias_beside(weight: Written, biases: Sequence[Row]) -> Bias | float:
    """What the rule of a weight says of the biases beside it."""
    bias = _best(biases)[0]
    if bias is None:
        return Bias.ALONE if biases else Bias.UNSET
    if bias == DEFAULT == weight:
        return Bias.UNSET
    value = bias.constant
    return Bias.ALONE if value is None else _bias_key(weight, value)


def _bias_key(weight: Written, value: float) -> Bias | float:
    """What the rule of a weight says of a bias that is constant: nothing if it is 0 anyway."""
    return value if value or weight == DEFAULT else Bias.UNSET


def _layer_name(cls: type, classes: Iterable[type]) -> str:
    """The name to write for a class: qualified if its short name also means an unrelated class of the model."""
    others = [other for other in classes if not issubclass(other, cls) and is_layer(other, cls.__name__)]
    return f"{cls.__module__}.{cls.__qualname__}" if others else cls.__name__


def _by_param(rows: Sequence[Row]) -> list[Draft]:
    """A rule for each name of a parameter, besides weight and bias, under which most are filled alike."""
    groups: dict[str, list[Row]] = {}
    for row in filter(_is_other, rows):
        groups.setdefault(_generic(row.sites[0].param), []).append(row)
    best = {param: _best(group)[0] for param, group in groups.items()}
    return [Draft(written=written, params=(param,)) for param, written in best.items() if written is not None]


def _generic(param: str) -> str:
    """The name of a parameter; in a list of parameters a glob for all of the list."""
    return re.sub(r"(?<=\.)\d+$|^\d+$", "*", param)


def _merged(drafts: Sequence[Draft], rows: Sequence[Row]) -> list[Draft]:
    """The rules with those that differ only in their layers, names or parameters as one, where that changes nothing."""
    merged: list[Draft] = []
    for at, draft in enumerate(drafts):
        rest = drafts[at + 1 :]
        right = count_right([*merged, draft, *rest], rows)
        joined = (
            [*merged[:place], one, *merged[place + 1 :]]
            for place, other in enumerate(merged)
            for one in _joined(other, draft)
        )
        fitting = (tried for tried in joined if count_right([*tried, *rest], rows) >= right)
        merged = next(fitting, [*merged, draft])
    return merged


def _joined(one: Draft, other: Draft) -> Iterator[Draft]:
    """One rule in place of two that differ in one selector; of layers without biases either `bias` will do."""
    if one.written != other.written:
        return
    both = replace(
        one,
        layer=tuple(dict.fromkeys([*one.layer, *other.layer])),
        name=tuple(dict.fromkeys([*one.name, *other.name])),
        params=tuple(dict.fromkeys([*one.params, *other.params])),
    )
    pairs = ((one.layer, other.layer), (one.name, other.name), (one.params, other.params))
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    if len(differing) == 1 and all(differing[0]):
        # One that the layer with biases does not need would be overridden by a later rule.
        biases = sorted(dict.fromkeys([one.bias, other.bias]), key=lambda bias: bias is Bias.UNSET)
        yield from (replace(both, bias=bias) for bias in biases)


def _without_idle(drafts: list[Draft], rows: Sequence[Row]) -> list[Draft]:
    """The rules without those that change nothing."""
    right = count_right(drafts, rows)
    for draft in list(drafts):
        rest = [other for other in drafts if other is not draft]
        if count_right(rest, rows) == right:
            drafts = rest
    return drafts


def _narrower(wrong: Sequence[Row], rows: Sequence[Row], drafts: Sequence[Draft]) -> list[Draft]:
    """A rule that makes some parameters right and none wrong of the same kind; if there is none, gives one up."""
    written = _best(wrong)[0] or KEEP
    params = list(dict.fromkeys(_generic(row.sites[0].param) for row in wrong if written in row.ways))[:1]
    wanted = [row for row in wrong if written in row.ways and _generic(row.sites[0].param) == params[0]]
    draft = Draft(written=written, params=tuple(params))
    for narrowed in _narrowed(draft, wanted, rows):
        if params == ["weight"] and written != KEEP:
            narrowed = _with_bias(narrowed, rows, drafts)
        return [narrowed]
    wanted[0].give_up(written)
    return []


def _narrowed(draft: Draft, wanted: Sequence[Row], rows: Sequence[Row]) -> Iterable[Draft]:
    """A draft with selectors that reach some of the wanted parameters and none that it would make wrong."""
    broken = [row for row in rows if any(draft.given_to(site) for site in row.sites) and draft.written not in row.ways]
    if not broken:
        yield draft
        return
    classes = dict.fromkeys(site.cls for row in wanted for site in row.sites[:1])
    layers = tuple((_layer_name(cls, [row.sites[0].cls for row in rows]), cls) for cls in classes)
    by_layer = replace(draft, layer=layers)
    if not _reaches_any(by_layer, broken):
        yield by_layer
        return
    for base, unwanted in ((draft, broken), (by_layer, [row for row in broken if _reaches_any(by_layer, [row])])):
        names = [row.sites[0].module for row in wanted]
        others = {site.module for row in unwanted for site in row.sites if base.given_to(site) is not None}
        globs = shortest_globs(names, others)
        if globs:
            yield replace(base, name=tuple(globs))


def _reaches_any(draft: Draft, rows: Iterable[Row]) -> bool:
    return any(draft.given_to(site) is not None for row in rows for site in row.sites)


def _with_bias(draft: Draft, rows: Sequence[Row], drafts: Sequence[Draft]) -> Draft:
    """A rule for weights, extended to the biases beside them if that makes more of them right."""
    selected = [row for row in rows if _is_bias(row) and any(map(draft.selects, row.sites))]
    if not selected:
        return replace(draft, params=())
    constants = (written.constant for row in selected for written in row.ways)
    values = dict.fromkeys(value for value in constants if value is not None)
    keys = dict.fromkeys([*(_bias_key(draft.written, value) for value in values), Bias.UNSET])
    tried = [draft, *(replace(draft, params=(), bias=key) for key in keys)]
    # Of rules that are as good the one that says the bias, too, because it is shorter than two.
    return max(tried[1:] + tried[:1], key=lambda each: count_right([*drafts, each], selected))
