"""One message per center, for whoever shows, lists or watches the view.

Runs inside a job of the committer: what it reads must be durable before it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import inventory_pb2 as wire
from computepool_broker.model.accelerators import catalogue
from computepool_broker.model.amounts import CPU, DISK, MEMORY, WHOLE_DEVICE
from computepool_broker.model.records import AgentState
from computepool_broker.services.pool import NEVER

if TYPE_CHECKING:
    from computepool_broker.ledger.state import AgentBook
    from computepool_broker.services.pool import Pool
    from computepool_broker.services.view import CenterSums, Sums

MAX_SUM = 2**63 - 1


def centers_of(pool: Pool, sums: dict[str, CenterSums], precision: str) -> list[wire.Center]:
    """Every center that has an agent or a node, by name, with where it stands."""
    places = _places(pool, sums)
    agents: dict[str, list[AgentBook]] = {}
    for book in pool.state.agents.values():
        agents.setdefault(book.record.center, []).append(book)
    ages = pool.center_ages_ms()
    out = []
    for name in sorted(places):
        region, role = places[name]
        center = wire.Center(region=region, role=role)
        _fill(center.view, pool, name, agents.get(name, []), sums.get(name), precision)
        center.view.age_ms = ages.get(name, 0) if name in sums else NEVER
        out.append(center)
    return out


def _places(pool: Pool, sums: dict[str, CenterSums]) -> dict[str, tuple[str, str]]:
    """Region and role by center."""
    columns = pool.columns
    out = {name: (columns.center_regions[columns.centers[name]], "") for name in sums}
    for book in pool.state.agents.values():
        out[book.record.center] = (book.record.region, book.record.role)
    return out


def _fill(
    out: wire.CenterView,
    pool: Pool,
    name: str,
    agents: list[AgentBook],
    sums: CenterSums | None,
    precision: str,
) -> None:
    cordon = pool.state.centers.get(name)
    out.center = name
    out.cordoned = bool(cordon and cordon.cordoned)
    out.cordon_message = cordon.message if cordon and cordon.cordoned else ""
    out.agents = len(agents)
    out.agents_active = sum(a.state is AgentState.ACTIVE for a in agents)
    if sums is None:
        return
    out.nodes, out.nodes_schedulable = sums.nodes, sums.schedulable
    if sums.oldest_in_flight_ms:
        out.in_flight_age_ms = max(0, pool.wall_ms() - sums.oldest_in_flight_ms)
    for field, key in ((out.cpu_milli, CPU), (out.memory_mib, MEMORY), (out.disk_mib, DISK)):
        field.CopyFrom(_amounts(sums.fixed[key]))
    for model in sorted(sums.models):
        out.models.append(_model(model, sums.models[model], precision))


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
