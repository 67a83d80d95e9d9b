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
s          sort by the next column       r   turn the order round
/          only what has these words in its name, region, role or state
Esc        all again; back from a center
Enter      open the center under the cursor: nodes, devices, leases
p          count P at the next precision
space      hold the screen still, and go on
?          this help                     q   leave
A click on a heading sorts by it, or turns the order round.

[b]Figures[/b]
Amounts are devices; a center without devices counts processor cores.
use        granted by this pool or used by others (foreign), of all
free       what new grants can have now
not open   free, too, but on nodes that take no new grants
in flight  granted, and no report has shown it yet
oldest     age of the oldest grant in flight
agents     active ones of all
age        of the oldest number of the center
P          peak computing power, 10^15 calculations a second
granted, refused   a second, over the last 5; before that as blocks
slowest    agents that have not reported for longest

[b]States[/b]
open; cordoned (by an operator); silent (no agent is active);
part silent; n closed (nodes that take no grants); overfull
(more is used than there is)

Figures in grey are old: the first line says how old.
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

    `head` is asked for its first lines at each refresh, since the view goes on.
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

    @property
    def filled(self) -> bool:
        """Whether its tables show anything yet."""
        return self._shown_s is not None

    def on_mount(self) -> None:
        """See textual."""
        self.show(None)
        self._tables["nodes"].focus()

    def show(self, detail: Detail | None) -> None:
        """Writes the lines above anew; fills the tables, when this is newer than what they show."""
        if not self.is_mounted:
            return
        self.query_one("#center-head", Static).update(text(*self._head()))
        if detail is None or detail.center != self.center or detail.seen_s == self._shown_s:
            return
        self._shown_s = detail.seen_s
        width = self.size.width
        self._tables["nodes"].show(inside.nodes(detail.nodes, width))
        self._tables["devices"].show(inside.devices(detail.nodes, width))
        self._tables["leases"].show(inside.leases(detail, width))
        self.query_one("#center-foot", Static).update(inside.remarks(detail))

    def action_tab(self, name: str) -> None:
        """Goes to one of the tables."""
        self.query_one(TabbedContent).active = name
        self._tables[name].focus()
