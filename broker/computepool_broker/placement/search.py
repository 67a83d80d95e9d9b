"""What fits, and how much of it: for looking at many requests once. Pure.

Nothing that the planner keeps is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from computepool_broker.model.request import PartSpec, Shape, Spec
    from computepool_broker.placement.columns import Columns
    from computepool_broker.placement.planner import Planner

PLANNED_PARTS = 64
"""A larger gang is not placed to the last device but its room counted: the same arithmetic
(tests/property/test_spread.py), many times faster."""


class Search:
    """Looks for the largest amounts that fit.

    Attributes:
        spec: The refused request.
    """

    def __init__(self, planner: Planner, spec: Spec) -> None:
        self.spec = spec
        self._planner = planner

    @property
    def columns(self) -> Columns:
        """The view."""
        return self._planner.columns

    def planned(self, spec: Spec) -> str:
        """The center of the first part if the request would be granted now, or an empty text."""
        if spec.parts > PLANNED_PARTS:
            return self._planner.fits(spec)
        places = self._planner.look(spec)
        return places[0][0] if places else ""

    def fits(self, spec: Spec) -> bool:
        """Whether the request would be granted now."""
        return bool(self._planner.fits(spec))

    def centers(self, spec: Spec) -> list[str]:
        """Centers that parts would go to: those with most room for a gang first."""
        if spec.parts > 1:
            return self._planner.roomiest(spec.shape)
        return list(dict.fromkeys(center for center, _ in self._planner.look(spec)))

    def models(self, spec: Spec) -> list[str]:
        """Models that parts would have, of a large gang the first parts."""
        first = spec._replace(parts=min(spec.parts, PLANNED_PARTS))
        return list(dict.fromkeys(model for _, model in self._planner.look(first) if model))

    def with_part(self, **fields: object) -> Spec:
        """The request with something else in its parts."""
        part: PartSpec = self.spec.shape.part._replace(**fields)  # type: ignore[arg-type]
        return self.with_shape(part=part)

    def with_shape(self, **fields: object) -> Spec:
        """The request with something else in its shape."""
        shape: Shape = self.spec.shape._replace(**fields)  # type: ignore[arg-type]
        return self.spec._replace(shape=shape)

    def largest(self, make: Callable[[int], Spec], most: int) -> int:
        """The greatest number up to `most` with which it fits, 0 when none does.

        What fits with some amount fits with less.
        """
        if most < 1 or not self.fits(make(1)):
            return 0
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.fits(make(middle)):
                low = middle
            else:
                high = middle - 1
        return low
