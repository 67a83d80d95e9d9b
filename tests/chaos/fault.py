"""What a fault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random

    from chaos.world import Shape, World

COMMITTED, DURABLE = 1, 2


@dataclass(frozen=True)
class Terms:
    """What goes with a fault.

    Attributes:
        brokers: It needs so many.
        ha: It needs a pool of Redis servers (True), one alone (False), or takes either (None).
        loses: What was acknowledged at this level or below may be gone with it; 0 for nothing.
        least_s: It lasts at least so long, in seconds, before it is healed.
        most_s: And so long at most.
    """

    brokers: int = 1
    ha: bool | None = None
    loses: int = 0
    least_s: float = 0.0
    most_s: float = 1.5

    def allow(self, shape: Shape) -> bool:
        """Whether a pool of that shape can have it."""
        return shape.brokers >= self.brokers and self.ha in (None, shape.ha)


class Fault(Protocol):
    """One way in which things go wrong; made for one time.

    Attributes:
        name: In a few words; unique.
        terms: See Terms.
    """

    name: str
    terms: Terms

    async def strike(self, world: World, rng: random.Random) -> None:
        """Make it happen; how it was is in `name` afterwards, where there was a choice."""
        ...

    async def heal(self, world: World) -> None:
        """Mend it, as far as it does not mend itself."""
        ...
