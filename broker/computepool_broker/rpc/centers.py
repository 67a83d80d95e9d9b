"""One message per center, for whoever shows, lists or watches the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.model.accelerators import catalogue
from computepool_broker.model.amounts import CPU, DISK, MEMORY, WHOLE_DEVICE
from computepool_broker.services.centers import facts_of
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    from computepool_broker.services.centers import CenterFacts
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.view import CenterSums, Sums

MAX_SUM = 2**63 - 1


def centers_of(pool: Pool, sums: dict[str, CenterSums], precision: str) -> list[wire.Center]:
    """Every center that has an agent or a node, by name, with where it stands.

    In a job of the committer: what it reads must be durable before it is told.
    """
    out = []
    for facts in facts_of(pool, sums):
        center = wire.Center(region=facts.region, role=facts.role)
        fill_center(center.view, facts, precision)
        fill_ages(center.view, facts, pool)
        out.append(center)
    return out


def fill_center(out: wire.CenterView, facts: CenterFacts, precision: str) -> None:
    """Write all of a center but its ages."""
    out.center = facts.name
    out.cordoned = facts.cordoned
    out.cordon_message = facts.cordon_message
    out.agents = facts.agents
    out.agents_active = facts.agents_active
    sums = facts.sums
    if sums is None:
        return
    out.nodes, out.nodes_schedulable = sums.nodes, sums.schedulable
    for field, key in ((out.cpu_milli, CPU), (out.memory_mib, MEMORY), (out.disk_mib, DISK)):
        field.CopyFrom(_amounts(sums.fixed[key]))
    for model in sorted(sums.models):
        out.models.append(_model(model, sums.models[model], precision))


def fill_ages(out: wire.CenterView, facts: CenterFacts, pool: Pool) -> None:
    """Write how old a center's numbers are now."""
    seen = facts.observed_ms
    out.age_ms = NEVER if seen == NEVER else max(0, pool.clock.now_ms - seen)
    if facts.sums is not None and facts.sums.oldest_in_flight_ms:
        out.in_flight_age_ms = max(0, pool.wall_ms() - facts.sums.oldest_in_flight_ms)


def _amounts(s: Sums) -> wire.Amounts:
    # Agents report what they like: a sum past the end of the field is shown as its end.
    return wire.Amounts(**{name: min(value, MAX_SUM) for name, value in s._asdict().items()})


def _model(model: str, s: Sums, precision: str) -> wire.ModelView:
    table = catalogue()
    peak = table.peak_gflops(model, precision)
    return wire.ModelView(
        model=model,
        devices=_amounts(s),
        peak_gflops=peak * s.total // WHOLE_DEVICE,
        granted_gflops=peak * s.granted // WHOLE_DEVICE,
        foreign_gflops=peak * s.foreign // WHOLE_DEVICE,
        unknown_model=table.find(model) is None,
    )
