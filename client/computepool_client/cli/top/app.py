"""The live screen: a thin shell of textual over `frame`, fed by `sources`.

What the screen says is made in `frame` and `inside`; here it is put on the
terminal, and keys are taken. Import it inside commands: textual is slow to import.
"""

import time
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable, Footer, Input, Static

from computepool_client.cli.precision import PRECISIONS
from computepool_client.cli.top import columns, inside
from computepool_client.cli.top.board import Board
from computepool_client.cli.top.centers import SortBy
from computepool_client.cli.top.feed import Event, Failed, Listed, Opened, Viewed
from computepool_client.cli.top.frame import Look, frame
from computepool_client.cli.top.grid import Centers, Grid, text
from computepool_client.cli.top.screens import CenterScreen, HelpScreen
from computepool_client.cli.top.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_client.cli.top.pieces import Line
    from computepool_client.client import PoolClient

_MOST_TICK_S: Final = 1.0
_LEAST_PATIENCE_S: Final = 6.0
_MOST_NEEDLE: Final = 100
_OF_CENTERS: Final = ("sort", "turn", "filter", "open", "precision", "all")


class TopApp(App[None]):
    """Shows the pool until it is left."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "computepool top"
    CSS: ClassVar[str] = """
    #head, #regions, #title, #slowest, #center-head, #center-foot { height: auto; }
    #regions { margin-top: 1; }
    #title { margin-top: 1; }
    #centers { height: 1fr; min-height: 3; }
    #center-foot { color: $text-muted; }
    #needle { display: none; }
    CenterScreen TabbedContent { height: 1fr; }
    CenterScreen TabPane { padding: 0; }
    CenterScreen DataTable { height: 1fr; }
    HelpScreen { align: center middle; }
    #help { width: 74; max-width: 100%; height: auto; max-height: 100%;
            border: round $primary; padding: 0 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"),
        Binding("r", "turn", "Turn"),
        # With priority: what is typed fast after the slash are words, not commands.
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("p", "precision", "Precision"),
        Binding("space", "pause", "Pause"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("escape", "all", "All", show=False),
    ]

    class Heard(Message):
        """Something came from the threads that ask the broker."""

        def __init__(self, event: Event) -> None:
            super().__init__()
            self.event = event

    def __init__(
        self,
        endpoint: str,
        connect: "Callable[[], PoolClient]",
        interval_s: float,
        precision: str = "",
    ) -> None:
        super().__init__()
        self.board = Board(interval_s, max(_LEAST_PATIENCE_S, 3 * interval_s))
        self.paused = False
        self._endpoint = endpoint
        self._precision = precision
        self._sort, self._backwards, self._needle = SortBy.USE, False, ""
        self._tick_s = min(interval_s, _MOST_TICK_S)
        self._sources = Sources(connect, interval_s, self._tell)

    def compose(self) -> ComposeResult:
        """See textual."""
        yield Static(id="head")
        yield Static(id="regions")
        yield Static(id="title")
        yield Centers(name="centers")
        yield Static(id="slowest")
        yield Input(
            placeholder="words of the name, region, role or state; Enter keeps, Esc shows all",
            id="needle",
            max_length=_MOST_NEEDLE,
            compact=True,
        )
        yield Footer()

    def on_mount(self) -> None:
        """See textual."""
        self.query_one(Grid).focus()
        self._sources.start(self._precision)
        self.set_interval(self._tick_s, self._draw)
        self._draw()

    def on_unmount(self) -> None:
        """See textual."""
        self._sources.stop()

    def on_resize(self) -> None:
        """See textual: which columns fit depends on the width."""
        self._draw()

    def _tell(self, event: Event) -> None:
        """Called from other threads."""
        self.post_message(self.Heard(event))

    def on_top_app_heard(self, message: Heard) -> None:
        """Notes what was heard; the next tick draws it."""
        now_s, event = time.monotonic(), message.event
        if isinstance(event, Viewed):
            first = self.board.totals is None
            self.board.polling = event.polled
            self.board.viewed(event.view, now_s, whole=event.whole, gone=event.gone)
            if first:
                self._draw()
        elif isinstance(event, Listed):
            self.board.listed(event.agents, now_s)
        elif isinstance(event, Opened):
            self.board.opened(event.detail, now_s)
            self._draw_center()
        elif isinstance(event, Failed):
            self.board.failed(event.trouble, now_s)

    def _draw(self) -> None:
        if not self.paused:
            self._draw_now()

    def _draw_now(self) -> None:
        """Also while the screen is held still: a choice shows at once."""
        if not self.is_running:
            return
        main = self.screen_stack[0]
        look = Look(
            self._endpoint,
            self.size.width,
            self.size.height,
            self._sort,
            self._backwards,
            self._needle,
            self.paused,
        )
        shown = frame(self.board, look, time.monotonic())
        main.query_one("#head", Static).update(text(*shown.head))
        main.query_one("#regions", Static).update(text(*shown.regions))
        main.query_one("#title", Static).update(text(shown.title))
        main.query_one("#slowest", Static).update(text(*shown.slowest))
        main.query_one("#centers", Grid).show(shown.table)
        self._draw_center()

    def _draw_center(self) -> None:
        for each in self.screen_stack:
            # Opened while the screen is held still, it is filled once.
            if isinstance(each, CenterScreen) and not (self.paused and each.filled):
                each.show(self.board.detail)

    def _draw_from_top(self) -> None:
        self._draw_now()
        self.query_one("#centers", Grid).to_top()

    # -- keys ------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """See textual: what is for the table of centers is not offered over another screen."""
        del parameters
        if len(self.screen_stack) > 1:
            return action not in _OF_CENTERS
        # While words are typed a slash is a character like any other.
        return action != "filter" or not self.query_one("#needle").display

    def action_sort(self) -> None:
        """Sorts by the next column."""
        orders = list(SortBy)
        self._sort = orders[(orders.index(self._sort) + 1) % len(orders)]
        self._backwards = False
        self._draw_from_top()

    def action_turn(self) -> None:
        """Turns the order round."""
        self._backwards = not self._backwards
        self._draw_from_top()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sorts by a heading that was clicked, or turns the order round."""
        order = columns.order_of(event.label.plain)
        if order is None:
            return
        self._backwards = order is self._sort and not self._backwards
        self._sort = order
        self._draw_from_top()

    def action_precision(self) -> None:
        """Counts P at the next precision."""
        totals = self.board.totals
        at = self._precision or (totals.precision if totals else "")
        known = PRECISIONS.index(at) if at in PRECISIONS else -1
        self._precision = PRECISIONS[(known + 1) % len(PRECISIONS)]
        self._sources.follow(self._precision)

    def action_pause(self) -> None:
        """Holds the screen still, or goes on."""
        self.paused = not self.paused
        self._draw_now()

    def action_help(self) -> None:
        """Says what the keys and the figures mean."""
        self.push_screen(HelpScreen())

    def action_filter(self) -> None:
        """Asks for the words that a center must have."""
        needle = self.query_one("#needle", Input)
        needle.display = True
        self.screen.set_focus(needle)

    def action_all(self) -> None:
        """Shows all centers again."""
        self._leave_filter(clear=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters while one types."""
        self._needle = event.value
        self._draw_from_top()

    def on_input_submitted(self) -> None:
        """Keeps the words and goes back to the table."""
        self._leave_filter(clear=False)

    def _leave_filter(self, *, clear: bool) -> None:
        needle = self.query_one("#needle", Input)
        if clear:
            needle.value = ""
        needle.display = False
        self.screen.set_focus(self.query_one("#centers", Grid))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Opens a center."""
        if event.data_table.id == "centers":
            self.action_open()

    def action_open(self) -> None:
        """Opens the center under the cursor."""
        center = self.query_one("#centers", Grid).selected
        if not center or len(self.screen_stack) > 1:
            return
        self.board.opened(None, time.monotonic())
        self._sources.open(center)
        self.push_screen(CenterScreen(center, lambda: self._center_head(center)))

    def _center_head(self, center: str) -> "tuple[Line, ...]":
        return inside.head(self.board, center, self._endpoint, time.monotonic(), self.size.width)

    def action_leave(self) -> None:
        """Leaves a center."""
        self._sources.open("")
        self.board.opened(None, time.monotonic())
        self.pop_screen()
