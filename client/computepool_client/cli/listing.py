"""What all lists have in common: which items, in which order and form, once or again and again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import typer

from computepool_client.cli import documents, flags, repeating, screen, units
from computepool_client.cli.connection import Printing
from computepool_client.cli.repeating import Repeat

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from computepool_client.client import PoolClient

Item = TypeVar("Item", bound="Message")
_LARGEST_PAGE = 500
_MOST = 1_000_000
_PANEL = "Which, and in which order"

Limit = Annotated[
    int,
    typer.Option(
        metavar="N",
        parser=flags.parser(units.parse_count(0, _MOST)),
        help="At most this many; 0 shows all.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class Query:
    """Which items of a list, in which order."""

    filter_by: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="EXPRESSION",
            help='Only those that match, such as \'region = "hebei" OR region = "tianjin"\'. A'
            " field that there is not is answered with those that there are; docs/protocol.md has"
            " the grammar.",
            rich_help_panel=_PANEL,
        ),
    ] = ""
    order_by: Annotated[
        str,
        typer.Option(
            metavar="FIELDS",
            help='Fields joined by commas, each with " desc" for descending.',
            rich_help_panel=_PANEL,
        ),
    ] = ""
    limit: Limit = 0

    @property
    def page_size(self) -> int:
        """Items of a page: no more than are shown, and the one that tells of more."""
        return min(self.limit + 1, _LARGEST_PAGE) if self.limit else _LARGEST_PAGE


@dataclass(frozen=True, slots=True)
class Kind(Generic[Item]):
    """What a list is of.

    Attributes:
        plural: for texts and as the key in JSON.
        none: what is said when there are none; when none matches, `no_match` is.
        name: an item's name.
        show: prints a table of items; True for every column.
    """

    plural: str
    none: str
    name: "Callable[[Item], str]"
    show: Callable[[Sequence[Item], bool], None]
    no_match: str = ""


@dataclass(frozen=True, slots=True)
class _Found(Generic[Item]):
    items: list[Item]
    more: bool


def run(
    connection: Printing,
    query: Query,
    repeat: Repeat,
    kind: Kind[Item],
    fetch: "Callable[[PoolClient], Iterator[Item]]",
) -> None:
    """Fetches and prints a list, again and again where that is asked for."""
    # One more than is shown tells whether there are more.
    wanted = query.limit + 1 if query.limit else None
    with connection.client() as pool:

        def look() -> _Found[Item]:
            found = list(islice(fetch(pool), wanted))
            more = bool(query.limit) and len(found) > query.limit
            return _Found(found[: query.limit] if more else found, more)

        def show(found: _Found[Item]) -> None:
            _print(connection, query, kind, found, line=repeat.watch)

        repeating.run(connection, repeat, look, show)


def _print(
    connection: Printing, query: Query, kind: Kind[Item], found: _Found[Item], *, line: bool
) -> None:
    if connection.as_json:
        items = documents.documents(found.items)
        documents.dump({kind.plural: items, "more": found.more}, line=line)
        return
    if connection.names_only:
        for each in found.items:
            screen.say_name(kind.name(each))
    elif found.items:
        kind.show(found.items, connection.wide)
    else:
        screen.say(_without(query, kind))
    if found.more:
        screen.remark(f"There are more than {query.limit} {kind.plural}: --limit 0 shows all.")


def _without(query: Query, kind: Kind[Item]) -> str:
    """What is said where nothing is to be shown."""
    return (kind.no_match or f"No {kind.plural} match.") if query.filter_by else kind.none
