import datetime

from computepool.v1 import types_pb2 as _types_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AllocationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALLOCATION_STATE_UNSPECIFIED: _ClassVar[AllocationState]
    ALLOCATION_STATE_RESERVED: _ClassVar[AllocationState]
    ALLOCATION_STATE_ACTIVE: _ClassVar[AllocationState]
    ALLOCATION_STATE_RELEASING: _ClassVar[AllocationState]
    ALLOCATION_STATE_ENDED: _ClassVar[AllocationState]

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_RELEASED: _ClassVar[EndReason]
    END_REASON_EXPIRED: _ClassVar[EndReason]
    END_REASON_FAILED: _ClassVar[EndReason]
    END_REASON_LOST: _ClassVar[EndReason]
    END_REASON_REVOKED: _ClassVar[EndReason]

class WaitFor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_FOR_UNSPECIFIED: _ClassVar[WaitFor]
    WAIT_FOR_RESERVED: _ClassVar[WaitFor]
    WAIT_FOR_ACTIVE: _ClassVar[WaitFor]

class AckLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_LEVEL_UNSPECIFIED: _ClassVar[AckLevel]
    ACK_LEVEL_COMMITTED: _ClassVar[AckLevel]
    ACK_LEVEL_DURABLE: _ClassVar[AckLevel]
    ACK_LEVEL_CONFIRMED: _ClassVar[AckLevel]

class BatchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_MODE_UNSPECIFIED: _ClassVar[BatchMode]
    BATCH_MODE_EACH: _ClassVar[BatchMode]
    BATCH_MODE_ATOMIC: _ClassVar[BatchMode]

class AllocationEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALLOCATION_EVENT_KIND_UNSPECIFIED: _ClassVar[AllocationEventKind]
    ALLOCATION_EVENT_KIND_EXISTING: _ClassVar[AllocationEventKind]
    ALLOCATION_EVENT_KIND_CHANGED: _ClassVar[AllocationEventKind]
    ALLOCATION_EVENT_KIND_GONE: _ClassVar[AllocationEventKind]
ALLOCATION_STATE_UNSPECIFIED: AllocationState
ALLOCATION_STATE_RESERVED: AllocationState
ALLOCATION_STATE_ACTIVE: AllocationState
ALLOCATION_STATE_RELEASING: AllocationState
ALLOCATION_STATE_ENDED: AllocationState
END_REASON_UNSPECIFIED: EndReason
END_REASON_RELEASED: EndReason
END_REASON_EXPIRED: EndReason
END_REASON_FAILED: EndReason
END_REASON_LOST: EndReason
END_REASON_REVOKED: EndReason
WAIT_FOR_UNSPECIFIED: WaitFor
WAIT_FOR_RESERVED: WaitFor
WAIT_FOR_ACTIVE: WaitFor
ACK_LEVEL_UNSPECIFIED: AckLevel
ACK_LEVEL_COMMITTED: AckLevel
ACK_LEVEL_DURABLE: AckLevel
ACK_LEVEL_CONFIRMED: AckLevel
BATCH_MODE_UNSPECIFIED: BatchMode
BATCH_MODE_EACH: BatchMode
BATCH_MODE_ATOMIC: BatchMode
ALLOCATION_EVENT_KIND_UNSPECIFIED: AllocationEventKind
ALLOCATION_EVENT_KIND_EXISTING: AllocationEventKind
ALLOCATION_EVENT_KIND_CHANGED: AllocationEventKind
ALLOCATION_EVENT_KIND_GONE: AllocationEventKind

class Lease(_message.Message):
    __slots__ = ("id", "index", "region", "center", "node", "model", "devices", "resources", "state", "place_revision")
    ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PLACE_REVISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    index: int
    region: str
    center: str
    node: str
    model: str
    devices: _containers.RepeatedCompositeFieldContainer[_types_pb2.DeviceShare]
    resources: _types_pb2.Resources
    state: _types_pb2.LeaseState
    place_revision: int
    def __init__(self, id: _Optional[str] = ..., index: _Optional[int] = ..., region: _Optional[str] = ..., center: _Optional[str] = ..., node: _Optional[str] = ..., model: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[_types_pb2.DeviceShare, _Mapping]]] = ..., resources: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., state: _Optional[_Union[_types_pb2.LeaseState, str]] = ..., place_revision: _Optional[int] = ...) -> None: ...

class Allocation(_message.Message):
    __slots__ = ("id", "tenant", "spec", "state", "end_reason", "end_message", "leases", "etag", "create_time", "remaining_ttl_ms", "description", "labels", "request_id", "revision", "adopted", "flags", "power_gflops")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    END_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REMAINING_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    POWER_GFLOPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    tenant: str
    spec: _types_pb2.AllocationSpec
    state: AllocationState
    end_reason: EndReason
    end_message: str
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    etag: str
    create_time: _timestamp_pb2.Timestamp
    remaining_ttl_ms: int
    description: str
    labels: _containers.ScalarMap[str, str]
    request_id: str
    revision: int
    adopted: bool
    flags: _containers.RepeatedScalarFieldContainer[str]
    power_gflops: int
    def __init__(self, id: _Optional[str] = ..., tenant: _Optional[str] = ..., spec: _Optional[_Union[_types_pb2.AllocationSpec, _Mapping]] = ..., state: _Optional[_Union[AllocationState, str]] = ..., end_reason: _Optional[_Union[EndReason, str]] = ..., end_message: _Optional[str] = ..., leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., remaining_ttl_ms: _Optional[int] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., revision: _Optional[int] = ..., adopted: _Optional[bool] = ..., flags: _Optional[_Iterable[str]] = ..., power_gflops: _Optional[int] = ...) -> None: ...

class CreateAllocationRequest(_message.Message):
    __slots__ = ("tenant", "request_id", "spec", "description", "labels", "wait_for", "wait_ms", "ack_level")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    ACK_LEVEL_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    request_id: str
    spec: _types_pb2.AllocationSpec
    description: str
    labels: _containers.ScalarMap[str, str]
    wait_for: WaitFor
    wait_ms: int
    ack_level: AckLevel
    def __init__(self, tenant: _Optional[str] = ..., request_id: _Optional[str] = ..., spec: _Optional[_Union[_types_pb2.AllocationSpec, _Mapping]] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., wait_for: _Optional[_Union[WaitFor, str]] = ..., wait_ms: _Optional[int] = ..., ack_level: _Optional[_Union[AckLevel, str]] = ...) -> None: ...

class CreateAllocationResponse(_message.Message):
    __slots__ = ("allocation", "duplicate", "ack_level")
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    ACK_LEVEL_FIELD_NUMBER: _ClassVar[int]
    allocation: Allocation
    duplicate: bool
    ack_level: AckLevel
    def __init__(self, allocation: _Optional[_Union[Allocation, _Mapping]] = ..., duplicate: _Optional[bool] = ..., ack_level: _Optional[_Union[AckLevel, str]] = ...) -> None: ...

class CenterRefusal(_message.Message):
    __slots__ = ("center", "region", "reason", "resource", "missing", "nodes", "age_ms")
    CENTER_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    center: str
    region: str
    reason: str
    resource: str
    missing: int
    nodes: int
    age_ms: int
    def __init__(self, center: _Optional[str] = ..., region: _Optional[str] = ..., reason: _Optional[str] = ..., resource: _Optional[str] = ..., missing: _Optional[int] = ..., nodes: _Optional[int] = ..., age_ms: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("summary", "centers", "centers_omitted", "view_revision", "parts_placeable", "nearest", "beyond_pool")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CENTERS_FIELD_NUMBER: _ClassVar[int]
    CENTERS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    VIEW_REVISION_FIELD_NUMBER: _ClassVar[int]
    PARTS_PLACEABLE_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    BEYOND_POOL_FIELD_NUMBER: _ClassVar[int]
    summary: str
    centers: _containers.RepeatedCompositeFieldContainer[CenterRefusal]
    centers_omitted: int
    view_revision: int
    parts_placeable: int
    nearest: _containers.RepeatedCompositeFieldContainer[NearestFit]
    beyond_pool: bool
    def __init__(self, summary: _Optional[str] = ..., centers: _Optional[_Iterable[_Union[CenterRefusal, _Mapping]]] = ..., centers_omitted: _Optional[int] = ..., view_revision: _Optional[int] = ..., parts_placeable: _Optional[int] = ..., nearest: _Optional[_Iterable[_Union[NearestFit, _Mapping]]] = ..., beyond_pool: _Optional[bool] = ...) -> None: ...

class NearestFit(_message.Message):
    __slots__ = ("field", "asked", "fits", "summary", "spec", "center")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    field: str
    asked: str
    fits: str
    summary: str
    spec: _types_pb2.AllocationSpec
    center: str
    def __init__(self, field: _Optional[str] = ..., asked: _Optional[str] = ..., fits: _Optional[str] = ..., summary: _Optional[str] = ..., spec: _Optional[_Union[_types_pb2.AllocationSpec, _Mapping]] = ..., center: _Optional[str] = ...) -> None: ...

class PreviewAllocationRequest(_message.Message):
    __slots__ = ("tenant", "spec")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    spec: _types_pb2.AllocationSpec
    def __init__(self, tenant: _Optional[str] = ..., spec: _Optional[_Union[_types_pb2.AllocationSpec, _Mapping]] = ...) -> None: ...

class PreviewAllocationResponse(_message.Message):
    __slots__ = ("leases", "refusal", "view_revision")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    VIEW_REVISION_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    refusal: Refusal
    view_revision: int
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., view_revision: _Optional[int] = ...) -> None: ...

class GetAllocationRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetAllocationResponse(_message.Message):
    __slots__ = ("allocation",)
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    allocation: Allocation
    def __init__(self, allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class ListAllocationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "tenant", "include_ended", "filter", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    tenant: str
    include_ended: bool
    filter: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., tenant: _Optional[str] = ..., include_ended: _Optional[bool] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListAllocationsResponse(_message.Message):
    __slots__ = ("allocations", "next_page_token")
    ALLOCATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    allocations: _containers.RepeatedCompositeFieldContainer[Allocation]
    next_page_token: str
    def __init__(self, allocations: _Optional[_Iterable[_Union[Allocation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RenewAllocationRequest(_message.Message):
    __slots__ = ("id", "etag", "ttl_s")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    id: str
    etag: str
    ttl_s: int
    def __init__(self, id: _Optional[str] = ..., etag: _Optional[str] = ..., ttl_s: _Optional[int] = ...) -> None: ...

class RenewAllocationResponse(_message.Message):
    __slots__ = ("allocation",)
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    allocation: Allocation
    def __init__(self, allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class ReleaseAllocationRequest(_message.Message):
    __slots__ = ("id", "etag", "message", "ack_level")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACK_LEVEL_FIELD_NUMBER: _ClassVar[int]
    id: str
    etag: str
    message: str
    ack_level: AckLevel
    def __init__(self, id: _Optional[str] = ..., etag: _Optional[str] = ..., message: _Optional[str] = ..., ack_level: _Optional[_Union[AckLevel, str]] = ...) -> None: ...

class ReleaseAllocationResponse(_message.Message):
    __slots__ = ("allocation",)
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    allocation: Allocation
    def __init__(self, allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class BatchCreateAllocationsRequest(_message.Message):
    __slots__ = ("requests", "mode", "wait_for", "wait_ms", "ack_level")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    ACK_LEVEL_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CreateAllocationRequest]
    mode: BatchMode
    wait_for: WaitFor
    wait_ms: int
    ack_level: AckLevel
    def __init__(self, requests: _Optional[_Iterable[_Union[CreateAllocationRequest, _Mapping]]] = ..., mode: _Optional[_Union[BatchMode, str]] = ..., wait_for: _Optional[_Union[WaitFor, str]] = ..., wait_ms: _Optional[int] = ..., ack_level: _Optional[_Union[AckLevel, str]] = ...) -> None: ...

class CallError(_message.Message):
    __slots__ = ("code", "reason", "message", "metadata", "field", "retry_after_ms", "refusal")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    field: str
    retry_after_ms: int
    refusal: Refusal
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., field: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class BatchCreateResult(_message.Message):
    __slots__ = ("created", "error")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    created: CreateAllocationResponse
    error: CallError
    def __init__(self, created: _Optional[_Union[CreateAllocationResponse, _Mapping]] = ..., error: _Optional[_Union[CallError, _Mapping]] = ...) -> None: ...

class BatchCreateAllocationsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchCreateResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchCreateResult, _Mapping]]] = ...) -> None: ...

class BatchRenewAllocationsRequest(_message.Message):
    __slots__ = ("ids", "ttl_s")
    IDS_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    ttl_s: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., ttl_s: _Optional[int] = ...) -> None: ...

class BatchFailure(_message.Message):
    __slots__ = ("id", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    error: CallError
    def __init__(self, id: _Optional[str] = ..., error: _Optional[_Union[CallError, _Mapping]] = ...) -> None: ...

class BatchRenewAllocationsResponse(_message.Message):
    __slots__ = ("renewed", "failures")
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    renewed: int
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    def __init__(self, renewed: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ...) -> None: ...

class BatchReleaseAllocationsRequest(_message.Message):
    __slots__ = ("ids", "message")
    IDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    message: str
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ...) -> None: ...

class BatchReleaseAllocationsResponse(_message.Message):
    __slots__ = ("released", "failures")
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    released: int
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    def __init__(self, released: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ...) -> None: ...

class StreamAllocationsRequest(_message.Message):
    __slots__ = ("ticket", "create", "renew", "release")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    ticket: int
    create: CreateAllocationRequest
    renew: RenewAllocationRequest
    release: ReleaseAllocationRequest
    def __init__(self, ticket: _Optional[int] = ..., create: _Optional[_Union[CreateAllocationRequest, _Mapping]] = ..., renew: _Optional[_Union[RenewAllocationRequest, _Mapping]] = ..., release: _Optional[_Union[ReleaseAllocationRequest, _Mapping]] = ...) -> None: ...

class StreamResult(_message.Message):
    __slots__ = ("ticket", "create", "renew", "release", "error")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ticket: int
    create: CreateAllocationResponse
    renew: RenewAllocationResponse
    release: ReleaseAllocationResponse
    error: CallError
    def __init__(self, ticket: _Optional[int] = ..., create: _Optional[_Union[CreateAllocationResponse, _Mapping]] = ..., renew: _Optional[_Union[RenewAllocationResponse, _Mapping]] = ..., release: _Optional[_Union[ReleaseAllocationResponse, _Mapping]] = ..., error: _Optional[_Union[CallError, _Mapping]] = ...) -> None: ...

class StreamAllocationsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StreamResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StreamResult, _Mapping]]] = ...) -> None: ...

class WatchAllocationsRequest(_message.Message):
    __slots__ = ("filter", "resume_token", "changes_only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CHANGES_ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: str
    resume_token: str
    changes_only: bool
    def __init__(self, filter: _Optional[str] = ..., resume_token: _Optional[str] = ..., changes_only: _Optional[bool] = ...) -> None: ...

class AllocationEvent(_message.Message):
    __slots__ = ("kind", "allocation")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    kind: AllocationEventKind
    allocation: Allocation
    def __init__(self, kind: _Optional[_Union[AllocationEventKind, str]] = ..., allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...

class WatchAllocationsResponse(_message.Message):
    __slots__ = ("events", "resume_token", "synced", "revision")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[AllocationEvent]
    resume_token: str
    synced: bool
    revision: int
    def __init__(self, events: _Optional[_Iterable[_Union[AllocationEvent, _Mapping]]] = ..., resume_token: _Optional[str] = ..., synced: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class ExplainAllocationRequest(_message.Message):
    __slots__ = ("id", "spec")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    id: str
    spec: _types_pb2.AllocationSpec
    def __init__(self, id: _Optional[str] = ..., spec: _Optional[_Union[_types_pb2.AllocationSpec, _Mapping]] = ...) -> None: ...

class FilterStep(_message.Message):
    __slots__ = ("reason", "nodes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    nodes: int
    def __init__(self, reason: _Optional[str] = ..., nodes: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("node", "center", "region", "score", "cpu_milli_left", "device_milli_left")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLI_LEFT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MILLI_LEFT_FIELD_NUMBER: _ClassVar[int]
    node: str
    center: str
    region: str
    score: int
    cpu_milli_left: int
    device_milli_left: int
    def __init__(self, node: _Optional[str] = ..., center: _Optional[str] = ..., region: _Optional[str] = ..., score: _Optional[int] = ..., cpu_milli_left: _Optional[int] = ..., device_milli_left: _Optional[int] = ...) -> None: ...

class PartExplanation(_message.Message):
    __slots__ = ("index", "place", "model", "rank", "candidates", "others", "summary", "state")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    index: int
    place: Candidate
    model: str
    rank: int
    candidates: int
    others: _containers.RepeatedCompositeFieldContainer[Candidate]
    summary: str
    state: _types_pb2.LeaseState
    def __init__(self, index: _Optional[int] = ..., place: _Optional[_Union[Candidate, _Mapping]] = ..., model: _Optional[str] = ..., rank: _Optional[int] = ..., candidates: _Optional[int] = ..., others: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., summary: _Optional[str] = ..., state: _Optional[_Union[_types_pb2.LeaseState, str]] = ...) -> None: ...

class ExplainAllocationResponse(_message.Message):
    __slots__ = ("summary", "view_revision", "refusal", "parts", "parts_omitted", "filters", "allocation")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    VIEW_REVISION_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    summary: str
    view_revision: int
    refusal: Refusal
    parts: _containers.RepeatedCompositeFieldContainer[PartExplanation]
    parts_omitted: int
    filters: _containers.RepeatedCompositeFieldContainer[FilterStep]
    allocation: Allocation
    def __init__(self, summary: _Optional[str] = ..., view_revision: _Optional[int] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[PartExplanation, _Mapping]]] = ..., parts_omitted: _Optional[int] = ..., filters: _Optional[_Iterable[_Union[FilterStep, _Mapping]]] = ..., allocation: _Optional[_Union[Allocation, _Mapping]] = ...) -> None: ...
