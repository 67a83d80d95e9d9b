"""PreviewAllocation and ExplainAllocation on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from computepool.v1 import allocation_pb2 as wire
from computepool_broker.errors import InvalidArgumentError
from computepool_broker.rpc import from_wire, to_wire

if TYPE_CHECKING:
    from computepool_broker.model.records import Allocation
    from computepool_broker.placement.reasons import Candidate, PartReasons
    from computepool_broker.rpc.answers import Answers
    from computepool_broker.services.explanations import Explanation, Explanations
    from computepool_broker.services.pool import Pool


class ExplainCalls:
    """Validates, asks, answers."""

    def __init__(
        self,
        explanations: Explanations,
        pool: Pool,
        specs: from_wire.SpecReader,
        answers: Answers,
    ) -> None:
        self._explanations = explanations
        self._pool = pool
        self._specs = specs
        self._answers = answers

    async def preview(
        self, request: wire.PreviewAllocationRequest
    ) -> wire.PreviewAllocationResponse:
        """What a create would do now."""
        from_wire.read_tenant("tenant", request.tenant)
        spec = self._specs.read("spec", request.spec)
        leases, refusal, revision = await self._explanations.preview(
            spec, lambda places: to_wire.planned(self._pool.state, places)
        )
        out = wire.PreviewAllocationResponse(leases=leases, view_revision=revision)
        if refusal is not None:
            out.refusal.CopyFrom(to_wire.refusal(refusal))
        return out

    async def explain(
        self, request: wire.ExplainAllocationRequest
    ) -> wire.ExplainAllocationResponse:
        """The reasons for an allocation, or for a request."""
        subject = request.WhichOneof("subject")
        if subject == "spec":
            spec = self._specs.read("spec", request.spec)
            return _response(await self._explanations.of_request(spec))
        if subject != "id":
            raise InvalidArgumentError("subject", "must be an id or a spec")
        told, allocation = await self._explanations.of_allocation(
            from_wire.read_id("id", request.id), self._shown
        )
        out = _response(told)
        out.allocation.CopyFrom(allocation)
        return out

    def _shown(self, allocation: Allocation) -> wire.Allocation:
        out = wire.Allocation()
        self._answers.fill(out, allocation)
        return out


def _response(told: Explanation) -> wire.ExplainAllocationResponse:
    out = wire.ExplainAllocationResponse(
        summary=told.summary,
        view_revision=told.revision,
        parts=[_part(part) for part in told.parts],
        parts_omitted=told.omitted,
        filters=[wire.FilterStep(reason=s.reason, nodes=s.nodes) for s in told.filters],
    )
    if told.refusal is not None:
        out.refusal.CopyFrom(to_wire.refusal(told.refusal))
    return out


def _part(part: PartReasons) -> wire.PartExplanation:
    out = wire.PartExplanation(
        index=part.part,
        place=_candidate(part.place),
        model=part.model,
        rank=part.rank,
        candidates=part.candidates,
        others=[_candidate(other) for other in part.others],
        summary=part.summary,
    )
    if part.state is not None:
        out.state = to_wire.number(part.state)
    return out


def _candidate(candidate: Candidate) -> wire.Candidate:
    return wire.Candidate(**candidate._asdict())
