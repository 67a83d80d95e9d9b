"""The fields of an allocation that never change: whoever watches may filter by them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool_broker.query.fields import Field, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from computepool_broker.model.records import Allocation

STABLE_FIELDS: Mapping[str, Field[Allocation]] = {
    "id": Field(Kind.TEXT, lambda a: a.id),
    "tenant": Field(Kind.TEXT, lambda a: a.tenant),
    "request_id": Field(Kind.TEXT, lambda a: a.request_id),
    "labels": Field(Kind.LABELS, lambda a: a.labels),
    "create_time": Field(Kind.TIME, lambda a: a.created_ms),
}
