"""What the screen says at a moment: words, bars and rows made from what is known.

Pure: the board, a person's choices and the time in, texts out.
"""

from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from computepool_client.cli import units
from computepool_client.cli.top import centers, columns, pieces
from computepool_client.cli.top.board import AgentRow, Board, Totals
from computepool_client.cli.top.centers import NEVER, RegionRow, SortBy
from computepool_client.cli.top.pieces import Line, Piece, Style, Table
from computepool_client.cli.top.rates import SHOWN, Rate, sparkline

_NEARLY_FULL: Final = 0.9
# Rows of the screen that leave room for more than one line of agents.
_TALL: Final = 36
_WIDE: Final = 110
_MOST_SLOW: Final = 5
_MOST_BAR: Final = 40


@dataclass(frozen=True, slots=True)
class Look:
    """What a person has chosen, and how large the screen is, in cells."""

    endpoint: str
    width: int
    height: int
    sort: SortBy = SortBy.USE
    backwards: bool = False
    needle: str = ""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """All texts of the screen; `stale` when there has been no answer for a while."""

    stale: bool
    head: tuple[Line, ...]
    regions: tuple[Line, ...]
    title: Line
    table: Table
    slowest: tuple[Line, ...]


def frame(board: Board, look: Look, now_s: float) -> Frame:
    """The screen at a moment."""
    silent_s = board.silent_for_s(now_s)
    stale = silent_s is not None
    shown = centers.ordered(
        centers.matching(board.centers.values(), look.needle),
        look.sort,
        now_s,
        backwards=look.backwards,
    )
    rows = centers.by_region(board.centers.values())
    head = (*_status(board, look, silent_s), *_banners(board, look.width))
    figures, bars = _figures(board, rows[-1], look, now_s), _bars(rows[:-1], look)
    table = columns.table(shown, look.sort, now_s, look.width, backwards=look.backwards)
    slowest = _slowest(board.agents, look, now_s)
    if stale:
        figures, bars, slowest = map(pieces.dimmed, (figures, bars, slowest))
        table = Table(table.headings, table.numbers, table.keys, pieces.dimmed(table.rows))
    return Frame(stale, head + figures, bars, _title(board, look, len(shown)), table, slowest)


def _status(board: Board, look: Look, silent_s: float | None) -> tuple[Line, ...]:
    parts = [(Piece("computepool top", Style.STRONG),), (Piece(look.endpoint),)]
    totals = board.totals
    if silent_s is not None:
        parts.append((Piece(f"no answer for {silent_s:.0f} s", Style.ALARM),))
        if board.trouble:
            parts.append((Piece(board.trouble, Style.WARN),))
    elif totals is None:
        parts.append((Piece("waiting for the broker", Style.WARN),))
    else:
        ready = Piece("READY", Style.GOOD)
        parts.append((Piece("WARMING UP", Style.WARN) if totals.warming_up else ready,))
        parts.append((Piece(f"P at {totals.precision}"),))
        if board.polling:
            parts.append((Piece("polled", Style.DIM),))
    if look.paused:
        parts.insert(1, (Piece("PAUSED (space goes on)", Style.WARN),))
    return pieces.spread(parts, look.width, "  ")


def _banners(board: Board, width: int) -> tuple[Line, ...]:
    totals = board.totals or Totals()
    said: list[Line] = []
    if totals.warming_up:
        text = "WARMING UP: not all known agents are back; what has no place yet must wait"
        said.append((Piece(text, Style.WARN),))
    if totals.mass_silence:
        text = "MASS SILENCE: over half of the centers fell silent together; none counts as lost"
        said.append((Piece(text, Style.ALARM),))
    if totals.audit_findings > 0:
        text = f"AUDIT: {totals.audit_findings:,} findings; `computepool audit` names them"
        said.append((Piece(text, Style.ALARM),))
    return tuple(pieces.cut(each, width) for each in said)


def _figures(board: Board, whole: RegionRow, look: Look, now_s: float) -> tuple[Line, ...]:
    totals = board.totals
    if totals is None:
        return ()
    live = f"{totals.allocations:,} allocation{'s' * (totals.allocations != 1)} live"
    parts = [_amounts(whole), (Piece(live, Style.STRONG),)]
    parts += [_in_flight(board, whole, now_s), (_audit(totals.audit_findings),)]
    width = max(8, min(SHOWN, (look.width - 40) // 2))
    rates = [_rate("granted", board.grants, width), _rate("refused", board.refusals, width)]
    return (
        *pieces.spread([part for part in parts if part], look.width),
        *pieces.spread(rates, look.width),
    )


def _amounts(whole: RegionRow) -> Line:
    if not whole.centers:
        return (Piece("no agent has reported yet", Style.WARN),)
    what = "cores" if whole.cores else "devices"
    power = f", {units.power(whole.peak_gflops)} P" if whole.peak_gflops else ""
    use = _percent(whole.sums.use)
    return (
        Piece(f"{units.thousandths(whole.sums.total)} {what}{power}, "),
        Piece(f"{use} used", _use_style(whole.sums.use)),
        Piece(f", {units.thousandths(whole.sums.free)} free"),
    )


def _in_flight(board: Board, whole: RegionRow, now_s: float) -> Line:
    oldest_ms = max((row.in_flight_age_at(now_s) for row in board.centers.values()), default=0)
    if not oldest_ms and not whole.sums.in_flight:
        return (Piece("nothing in flight", Style.DIM),)
    amount = units.thousandths(whole.sums.in_flight)
    return (Piece(f"{amount} in flight, oldest {units.age(oldest_ms)}"),)


def _audit(findings: int) -> Piece:
    if findings < 0:
        return Piece("not audited yet", Style.DIM)
    return Piece("audit clean", Style.GOOD) if not findings else Piece("audit", Style.ALARM)


def _rate(word: str, rate: Rate, width: int) -> Line:
    per_s = rate.per_second()
    text = "   -  " if per_s is None else f"{per_s:>6,.{0 if per_s >= 100 else 1}f}"  # noqa: PLR2004 - digits that tell something
    return (
        Piece(f"{word} {text}/s "),
        Piece(
            sparkline(rate.series(width), width), Style.OURS if word == "granted" else Style.WARN
        ),
    )


def _bars(regions: list[RegionRow], look: Look) -> tuple[Line, ...]:
    most = max(4, (look.height - 12) // 3)
    shown = regions if len(regions) <= most else regions[: most - 1]
    names = min(20, max((cell_len(row.region) for row in shown), default=0))
    width = max(8, min(_MOST_BAR, look.width - names - 50))
    lines = [_bar(row, names, width) for row in shown]
    if len(shown) < len(regions):
        left = len(regions) - len(shown)
        lines.append((Piece(f"... and {left} more regions", Style.DIM),))
    return tuple(pieces.cut(each, look.width) for each in lines)


def _bar(row: RegionRow, names: int, width: int) -> Line:
    sums = row.sums
    ours = round(width * min(1.0, sums.granted / sums.total)) if sums.total else 0
    others = round(width * min(1.0, sums.foreign / sums.total)) if sums.total else 0
    ours = max(ours, int(sums.granted > 0))
    others = min(others, width - ours)
    free = f"{units.thousandths(sums.free)} {'cores ' if row.cores else ''}free"
    power = f"{units.power(row.peak_gflops)} P" if row.peak_gflops else ""
    return (
        Piece(pieces.padded(row.region, names) + " ", Style.STRONG),
        Piece(pieces.padded(row.role, 9) + " ", Style.DIM),
        Piece("█" * ours, Style.OURS),
        Piece("▒" * others, Style.OTHERS),
        Piece("░" * (width - ours - others), Style.DIM),
        Piece(f" {_percent(sums.use):>7}", _use_style(sums.use)),
        Piece(f"  {free:>16}"),
        Piece(f"  {power:>10}"),
    )


def _title(board: Board, look: Look, shown: int) -> Line:
    known = len(board.centers)
    what = f"{known:,} centers" if not look.needle else f"{shown:,} of {known:,} centers"
    order = f" by {look.sort}{', reversed' * look.backwards}"
    words = f" with {look.needle!r}" if look.needle else ""
    parts: list[Line] = [(Piece(what + order + words, Style.STRONG),)]
    parts.append((Piece("█ granted ", Style.OURS), Piece("▒ foreign", Style.OTHERS)))
    return pieces.spread(parts, look.width)[0]


def _slowest(agents: tuple[AgentRow, ...], look: Look, now_s: float) -> tuple[Line, ...]:
    def lateness(agent: AgentRow) -> float:
        return float("inf") if agent.last_sync_age_ms == NEVER else agent.last_sync_age_ms

    worst = sorted(agents, key=lambda each: (-lateness(each), each.name))[:_MOST_SLOW]
    if not worst:
        return ()
    if look.height >= _TALL:
        head: Line = (Piece("slowest agents", Style.STRONG),)
        return (head, *(pieces.cut(_agent(each, look.width, now_s), look.width) for each in worst))
    parts: list[Line] = [(Piece("slowest", Style.STRONG),)]
    parts += [(Piece(f"{each.name} "), _heard(each, now_s)) for each in worst]
    return pieces.spread(parts, look.width, "  ")[:1]


def _agent(agent: AgentRow, width: int, now_s: float) -> Line:
    heard = _heard(agent, now_s)
    refused = f"  {agent.refusals:,} refusals ({agent.last_refusal})" if agent.refusals else ""
    return (
        Piece(pieces.padded(agent.name, 28) + " "),
        Piece((pieces.padded(agent.center, 22) + " ") * (width >= _WIDE), Style.DIM),
        Piece(pieces.padded(heard.text, 6, right=True), heard.style),
        Piece(f"  {pieces.padded(agent.state, 12)}"),
        Piece(f" {agent.nodes:>7,} nodes {agent.leases:>7,} leases"),
        Piece(refused, Style.WARN),
    )


def _heard(agent: AgentRow, now_s: float) -> Piece:
    age_ms = agent.last_sync_age_ms
    if age_ms != NEVER:
        age_ms += int((now_s - agent.seen_s) * 1000)
    calm = agent.state in ("ACTIVE", "CLOSED")
    return Piece(units.age(age_ms), Style.PLAIN if calm else Style.ALARM)


def _percent(use: float | None) -> str:
    return "-" if use is None else f"{100 * use:.1f} %"


def _use_style(use: float | None) -> Style:
    return Style.WARN if (use or 0) >= _NEARLY_FULL else Style.PLAIN
