"""The two screens over the main one: what is in a center, and help."""

from collections.abc import Callable
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from computepool_client.cli.top import inside
from computepool_client.cli.top.board import Detail
from computepool_client.cli.top.grid import Grid, text
from computepool_client.cli.top.pieces import Line

_HELP: Final = """\
[b]Keys[/b]
  s            sort by the next column        r      turn the order round
  /            show only what has these words (name, region, role, state); Esc shows all
  Enter        open the center under the cursor; Esc goes back
  p            count P at the next precision
  space        hold the screen still, and go on
  arrows, PgUp, PgDn, Home, End    move; a click on a heading sorts by it
  ?            this help                      q      leave

[b]Figures[/b]
  Amounts are devices; a center without devices counts processor cores.
  use          what this pool has granted and what others use (foreign), in % of all there is
  free         what new grants can have now; not open is free, too, but on nodes that take none
  in flight    granted, and no report has shown it yet; oldest is the age of the oldest such grant
  agents       active ones of all; age is that of the oldest number of the center
  P            peak computing power, 10^15 calculations a second, at the precision named above
  granted/s, refused/s    over the last 5 seconds, and before that as blocks
  slowest      agents that have not reported for longest, and for how long

[b]States[/b]
  open, cordoned (by an operator), silent (no agent active), part silent, n closed (nodes that
  take no grants), overfull (more is used than there is)

Grey figures are old: there has been no answer for the time that the first line says.
"""


class HelpScreen(ModalScreen[None]):
    """What the keys and the figures mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Back"),
    ]

    def compose(self) -> ComposeResult:
        """See textual."""
        with VerticalScroll(id="help"):
            yield Static(_HELP, markup=True)


class CenterScreen(Screen[None]):
    """Nodes, devices and leases of one center.

    Its main line is asked for anew by `refresh_head`, since the view goes on.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.leave", "Back"),
        Binding("n", "tab('nodes')", "Nodes"),
        Binding("d", "tab('devices')", "Devices"),
        Binding("l", "tab('leases')", "Leases"),
        Binding("space", "app.pause", "Pause"),
        Binding("question_mark", "app.help", "Help"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, center: str, head: Callable[[], tuple[Line, ...]]) -> None:
        super().__init__()
        self.center = center
        self._head = head
        self._tables = {name: Grid(name=f"{name}-grid") for name in ("nodes", "devices", "leases")}
        self._shown_s: float | None = None

    def compose(self) -> ComposeResult:
        """See textual."""
        yield Static(id="center-head")
        with TabbedContent(initial="nodes"):
            for name, table in self._tables.items():
                with TabPane(name.capitalize(), id=name):
                    yield table
        yield Static("asking the broker ...", id="center-foot")
        yield Footer()

    def on_mount(self) -> None:
        """See textual."""
        self.refresh_head()
        self._tables["nodes"].focus()

    def refresh_head(self) -> None:
        """Writes the lines above the tables anew."""
        self.query_one("#center-head", Static).update(text(*self._head()))

    def show(self, detail: Detail | None) -> None:
        """Fills the tables, when this is newer than what they show."""
        if detail is None or detail.center != self.center or detail.seen_s == self._shown_s:
            return
        self._shown_s = detail.seen_s
        self._tables["nodes"].show(inside.nodes(detail.nodes))
        self._tables["devices"].show(inside.devices(detail.nodes))
        self._tables["leases"].show(inside.leases(detail))
        self.query_one("#center-foot", Static).update(inside.remarks(detail))

    def action_tab(self, name: str) -> None:
        """Goes to one of the tables."""
        self.query_one(TabbedContent).active = name
        self._tables[name].focus()
