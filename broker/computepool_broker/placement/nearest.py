"""What would fit instead of a refused request. Pure.

Each candidate differs from the request in one thing: less of something, or one condition relaxed.
All are planned on the same view before they are told (search.py). Told first is what gives up
least: of something less, the fraction given up; a relaxed condition has a fixed place among them
(LOSSES).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computepool_broker.model.refusal import NearestFit
from computepool_broker.placement import power, room, spread, words
from computepool_broker.placement.filters import compile_shape, passing
from computepool_broker.placement.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from computepool_broker.model.request import Spec
    from computepool_broker.placement.columns import Columns
    from computepool_broker.placement.planner import Planner

    Maker = Callable[["Search"], Iterator["Candidate"]]

MOST_TOLD = 8
MOST_NAMES = 64
"""Names in a list of the request at most."""
MOST_TRIED = 8
"""Labels or sizes tried at most."""
FEW = 3
"""Centers or models added at once at most; more would not be one thing."""
LOSSES = {
    "spread.max_skew": 0.05,
    "power.mixed": 0.05,
    "centers": 0.1,
    "regions": 0.15,
    "part.models": 0.2,
    "node_labels": 0.25,
}
SHARE_STEP_MILLI = 50
CORE_MILLI, GIB = 1_000, 1_024


class Candidate(NamedTuple):
    """A request that may fit, and what it gives up; see NearestFit."""

    loss: float
    field: str
    asked: str
    fits: str
    summary: str
    spec: Spec


def nearest_fits(planner: Planner, spec: Spec) -> tuple[NearestFit, ...]:
    """What would fit instead, that which gives up least first."""
    if not planner.columns.there.any():
        return ()
    search = Search(planner, spec)
    candidates = [candidate for make in MAKERS for candidate in make(search)]
    candidates.sort(key=lambda c: c.loss)
    told: list[NearestFit] = []
    for candidate in candidates:
        center = search.planned(candidate.spec)
        if center:
            told.append(NearestFit(*candidate[1:], center))
        if len(told) == MOST_TOLD:
            break
    return tuple(told)


def _less(
    field: str,
    asked: int,
    fits: int,
    say: Callable[[int], str],
    spec: Spec,
    short: Callable[[int], str] = str,
) -> Candidate:
    """Less of an amount; `short` says it where the unit is known from before."""
    summary = f"with {say(fits)} instead of {short(asked)}"
    return Candidate(1 - fits / asked, field, say(asked), say(fits), summary, spec)


def _fewer_devices(search: Search) -> Iterator[Candidate]:
    asked = search.spec.shape.part.devices
    fits = search.largest(lambda n: search.with_part(devices=n), asked - 1)
    if fits:
        spec = search.with_part(devices=fits)
        yield _less("part.devices", asked, fits, lambda n: words.counted(n, "device"), spec)


def _fewer_parts(search: Search) -> Iterator[Candidate]:
    asked = search.spec.parts
    fits = search.largest(lambda n: search.spec._replace(parts=n), asked - 1)
    if fits:
        spec = search.spec._replace(parts=fits)
        yield _less("count", asked, fits, lambda n: words.counted(n, "part"), spec)


def _smaller_share(search: Search) -> Iterator[Candidate]:
    part = search.spec.shape.part
    asked = part.device_milli or (1_000 if part.devices == 1 else 0)

    def make(steps: int) -> Spec:
        return search.with_part(devices=0, device_milli=steps * SHARE_STEP_MILLI)

    steps = search.largest(make, (asked - 1) // SHARE_STEP_MILLI)
    if steps:
        fits = steps * SHARE_STEP_MILLI
        before = words.share(asked) if part.device_milli else "1 device"
        summary = f"with {words.share(fits)} instead of {before}"
        loss, told = 1 - fits / asked, words.share(fits)
        yield Candidate(loss, "part.device_milli", before, told, summary, make(steps))


def _less_of_a_node(search: Search) -> Iterator[Candidate]:
    """Less processor, memory or disk for each part, in whole cores and GiB where it is more."""
    part = search.spec.shape.part
    for name, unit, say, short in (
        ("cpu_milli", CORE_MILLI, words.cores, lambda n: f"{n / CORE_MILLI:g}"),
        ("memory_mib", GIB, lambda n: f"{words.size(n)} memory", words.size),
        ("disk_mib", GIB, lambda n: f"{words.size(n)} disk", words.size),
    ):
        asked: int = getattr(part, name)
        step = unit if asked > unit else max(1, unit // 10)

        def make(steps: int, name: str = name, step: int = step) -> Spec:
            return search.with_part(**{name: steps * step})

        most = min((asked - 1) // step, _most_free(search, name) // step) if asked else 0
        steps = search.largest(make, most)
        if steps:
            field = f"part.resources.{name}"
            yield _less(field, asked, steps * step, say, make(steps), short)


def _most_free(search: Search, name: str) -> int:
    """The most that any node has free which passes all other filters."""
    columns = search.columns
    shape = search.with_part(**{name: 0}).shape
    if search.spec.power is not None:
        shape = power.one_device(shape)
    ok = passing(compile_shape(columns, shape), slice(0, columns.size))
    free = columns.free[("cpu_milli", "memory_mib", "disk_mib").index(name), : columns.size]
    return int(free[ok].max(initial=0))


def _fewer_extras(search: Search) -> Iterator[Candidate]:
    extras = search.spec.shape.part.extras
    for at, (name, asked) in enumerate(extras[:MOST_TRIED]):

        def make(n: int, at: int = at, name: str = name) -> Spec:
            return search.with_part(extras=(*extras[:at], (name, n), *extras[at + 1 :]))

        column = search.columns.extras.get(name)
        most = 0 if column is None else int(column.max(initial=0))
        fits = search.largest(make, min(asked - 1, most))
        if fits:
            field = f"part.resources.extras[{name}]"
            yield _less(field, asked, fits, lambda n, name=name: f"{n} {name}", make(fits))  # type: ignore[misc]


def _other_centers(search: Search) -> Iterator[Candidate]:
    """Centers allowed besides; with their regions, where those asked for forbid all others."""
    shape = search.spec.shape
    if not shape.centers:
        return
    for regions in dict.fromkeys((shape.regions, ())):
        used = search.centers(search.with_shape(centers=(), regions=regions))
        for added in _one_or_few([c for c in used if c not in shape.centers]):
            names = tuple(sorted({*shape.centers, *added}))
            within = set(shape.regions)
            if shape.regions and not regions:
                within |= {_region(search.columns, center) for center in added}
            spec = search.with_shape(centers=names, regions=tuple(sorted(within)))
            if len(names) <= MOST_NAMES and search.fits(spec):
                yield _allowed("centers", shape.centers, added, spec)
                return


def _other_regions(search: Search) -> Iterator[Candidate]:
    shape = search.spec.shape
    if not shape.regions or shape.centers:
        return
    used = search.centers(search.with_shape(regions=()))
    found = dict.fromkeys(_region(search.columns, center) for center in used)
    for added in _one_or_few([r for r in found if r not in shape.regions]):
        names = tuple(sorted({*shape.regions, *added}))
        spec = search.with_shape(regions=names)
        if len(names) <= MOST_NAMES and search.fits(spec):
            yield _allowed("regions", shape.regions, added, spec)
            return


def _region(columns: Columns, center: str) -> str:
    return columns.center_regions[columns.centers[center]]


def _one_or_few(names: list[str]) -> Iterator[list[str]]:
    for count in range(1, min(len(names), FEW) + 1):
        yield names[:count]


def _allowed(field: str, asked: tuple[str, ...], added: list[str], spec: Spec) -> Candidate:
    listed = " and ".join(added)
    summary = f"if {listed} were allowed"
    return Candidate(LOSSES[field], field, ", ".join(asked), listed, summary, spec)


def _more_models(search: Search) -> Iterator[Candidate]:
    part = search.spec.shape.part
    if not part.models:
        return
    used = search.models(search.with_part(models=()))
    for added in _one_or_few([m for m in used if m not in part.models]):
        names = tuple(sorted({*part.models, *added}))
        spec = search.with_part(models=names)
        if len(names) <= MOST_NAMES and search.fits(spec):
            listed = " and ".join(added)
            summary = f"with {listed} also accepted"
            asked = ", ".join(part.models)
            yield Candidate(LOSSES["part.models"], "part.models", asked, listed, summary, spec)
            return


def _less_device_memory(search: Search) -> Iterator[Candidate]:
    asked = search.spec.shape.part.min_device_memory_mib
    sizes = {size for _, size in search.columns.classes if size < asked}
    for fits in sorted(sizes, reverse=True)[:MOST_TRIED]:
        spec = search.with_part(min_device_memory_mib=fits)
        if search.fits(spec):

            def say(mib: int) -> str:
                return f"{words.size(mib)} of device memory"

            field = "part.min_device_memory_mib"
            yield _less(field, asked, fits, say, spec, words.size)
            return


def _label_dropped(search: Search) -> Iterator[Candidate]:
    labels = search.spec.shape.node_labels
    for at, (key, value) in enumerate(labels[:MOST_TRIED]):
        spec = search.with_shape(node_labels=labels[:at] + labels[at + 1 :])
        if search.fits(spec):
            told = f"{key}={value}"
            summary = f"without the label {told}"
            yield Candidate(LOSSES["node_labels"], "node_labels", told, "any", summary, spec)


def _looser_spread(search: Search) -> Iterator[Candidate]:
    spec, wanted = search.spec, search.spec.spread
    if wanted is None or spec.parts == 1:
        return
    compiled = compile_shape(search.columns, spec.shape)
    found = spread.domains(search.columns, compiled, wanted.over)
    fit = np.minimum(room.parts_by_row(search.columns, compiled), spec.parts)
    skew = spread.least_skew(found.room(fit), found.counts, spec.parts)
    if skew is not None and skew > wanted.max_skew:
        looser = spec._replace(spread=wanted._replace(max_skew=skew))
        summary = f"with a skew of {skew} instead of {wanted.max_skew}"
        field = "spread.max_skew"
        yield Candidate(LOSSES[field], field, str(wanted.max_skew), str(skew), summary, looser)


def _less_power(search: Search) -> Iterator[Candidate]:
    wanted = search.spec.power
    if wanted is None:
        return
    columns = search.columns
    compiled = compile_shape(columns, power.one_device(search.spec.shape))
    have = power.supply(columns, compiled, wanted).bounded()
    fits = have.most(have.fit.sum(axis=1))
    if 0 < fits < wanted.gflops:
        less = search.spec._replace(power=wanted._replace(gflops=fits))
        yield _less("power.gflops", wanted.gflops, fits, words.power, less, words.power)
    mixed = search.spec._replace(power=wanted._replace(mixed=True))
    if not wanted.mixed and search.fits(mixed):
        told, field = "devices of several models", "power.mixed"
        yield Candidate(LOSSES[field], field, "devices of one model", told, f"with {told}", mixed)


MAKERS: tuple[Maker, ...] = (
    _looser_spread,
    _less_power,
    _other_centers,
    _other_regions,
    _more_models,
    _label_dropped,
    _fewer_devices,
    _fewer_parts,
    _smaller_share,
    _less_of_a_node,
    _fewer_extras,
    _less_device_memory,
)
