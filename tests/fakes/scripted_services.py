"""A real gRPC server whose answers are scripted: for units of the client only.

Each call takes the next entry of its method's script and keeps the last one for
ever: a message is the answer, a `Failure` an error with rich details, a callable
makes the answer from the request. What was asked is recorded.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent import futures
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from computepool.v1 import (
    allocation_pb2_grpc,
    inventory_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from google.protobuf.message import Message


@dataclass(frozen=True)
class Failure:
    """An error as the broker words it: status, reason and what goes with it."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "it did not work"
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    fields: dict[str, str] = field(default_factory=dict)
    refusal: Message | None = None

    def status(self) -> grpc.Status:
        details: list[Message] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(
                    reason=self.reason, domain="computepool", metadata=self.metadata
                )
            )
        if self.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after_s * 1e9))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        if self.fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=name, description=text)
                for name, text in self.fields.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if self.refusal is not None:
            details.append(self.refusal)
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        number: int = code_pb2.Code.Value(self.code.name)
        return rpc_status.to_status(  # type: ignore[no-any-return]
            status_pb2.Status(code=number, message=self.message, details=packed)
        )


class ScriptedServices:
    """Both services, on a free port unless told; use it in a `with` statement."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self._scripts: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        allocations = _servicer(allocation_pb2_grpc.AllocationServiceServicer, self._answer)
        inventory = _servicer(inventory_pb2_grpc.InventoryServiceServicer, self._answer)
        allocation_pb2_grpc.add_AllocationServiceServicer_to_server(allocations, self._server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, self._server)
        host = listen.rpartition(":")[0]
        self.endpoint = f"{host}:{self._server.add_insecure_port(listen)}"

    def script(self, method: str, *steps: Any) -> None:
        with self._lock:
            self._scripts[method] = list(steps)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(None).wait(5)

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.requests[method].append(request)
            steps = self._scripts.get(method)
            if not steps:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no script for {method}")
            step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Failure):
            context.abort_with_status(step.status())
        return step(request) if callable(step) else step


def _servicer(base: type[Any], answer: Callable[..., Any]) -> Any:
    def method(name: str) -> Callable[..., Any]:
        return lambda _self, request, context: answer(name, request, context)

    names = [name for name in vars(base) if name[0].isupper()]
    return type(f"Scripted{base.__name__}", (base,), {name: method(name) for name in names})()
