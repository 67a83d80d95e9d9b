from computepool.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PoolState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POOL_STATE_UNSPECIFIED: _ClassVar[PoolState]
    POOL_STATE_WARMING_UP: _ClassVar[PoolState]
    POOL_STATE_READY: _ClassVar[PoolState]

class AgentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_STATE_UNSPECIFIED: _ClassVar[AgentState]
    AGENT_STATE_RECONCILING: _ClassVar[AgentState]
    AGENT_STATE_ACTIVE: _ClassVar[AgentState]
    AGENT_STATE_DISCONNECTED: _ClassVar[AgentState]
    AGENT_STATE_LOST: _ClassVar[AgentState]
    AGENT_STATE_CLOSED: _ClassVar[AgentState]

class FindingKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINDING_KIND_UNSPECIFIED: _ClassVar[FindingKind]
    FINDING_KIND_BOOKS: _ClassVar[FindingKind]
    FINDING_KIND_PHANTOM: _ClassVar[FindingKind]
    FINDING_KIND_ORPHAN: _ClassVar[FindingKind]
    FINDING_KIND_OVERCOMMIT: _ClassVar[FindingKind]
    FINDING_KIND_CONFLICT: _ClassVar[FindingKind]
    FINDING_KIND_VIEW: _ClassVar[FindingKind]
POOL_STATE_UNSPECIFIED: PoolState
POOL_STATE_WARMING_UP: PoolState
POOL_STATE_READY: PoolState
AGENT_STATE_UNSPECIFIED: AgentState
AGENT_STATE_RECONCILING: AgentState
AGENT_STATE_ACTIVE: AgentState
AGENT_STATE_DISCONNECTED: AgentState
AGENT_STATE_LOST: AgentState
AGENT_STATE_CLOSED: AgentState
FINDING_KIND_UNSPECIFIED: FindingKind
FINDING_KIND_BOOKS: FindingKind
FINDING_KIND_PHANTOM: FindingKind
FINDING_KIND_ORPHAN: FindingKind
FINDING_KIND_OVERCOMMIT: FindingKind
FINDING_KIND_CONFLICT: FindingKind
FINDING_KIND_VIEW: FindingKind

class Amounts(_message.Message):
    __slots__ = ("total", "reserved", "foreign", "granted", "in_flight", "releasing", "free", "schedulable", "overcommit")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    RELEASING_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULABLE_FIELD_NUMBER: _ClassVar[int]
    OVERCOMMIT_FIELD_NUMBER: _ClassVar[int]
    total: int
    reserved: int
    foreign: int
    granted: int
    in_flight: int
    releasing: int
    free: int
    schedulable: int
    overcommit: int
    def __init__(self, total: _Optional[int] = ..., reserved: _Optional[int] = ..., foreign: _Optional[int] = ..., granted: _Optional[int] = ..., in_flight: _Optional[int] = ..., releasing: _Optional[int] = ..., free: _Optional[int] = ..., schedulable: _Optional[int] = ..., overcommit: _Optional[int] = ...) -> None: ...

class ModelView(_message.Message):
    __slots__ = ("model", "devices", "peak_gflops", "unknown_model", "granted_gflops", "foreign_gflops")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    PEAK_GFLOPS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_MODEL_FIELD_NUMBER: _ClassVar[int]
    GRANTED_GFLOPS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_GFLOPS_FIELD_NUMBER: _ClassVar[int]
    model: str
    devices: Amounts
    peak_gflops: int
    unknown_model: bool
    granted_gflops: int
    foreign_gflops: int
    def __init__(self, model: _Optional[str] = ..., devices: _Optional[_Union[Amounts, _Mapping]] = ..., peak_gflops: _Optional[int] = ..., unknown_model: _Optional[bool] = ..., granted_gflops: _Optional[int] = ..., foreign_gflops: _Optional[int] = ...) -> None: ...

class CenterView(_message.Message):
    __slots__ = ("center", "nodes", "nodes_schedulable", "cpu_milli", "memory_mib", "disk_mib", "models", "age_ms", "cordoned", "agents", "agents_active", "in_flight_age_ms", "cordon_message")
    CENTER_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NODES_SCHEDULABLE_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    DISK_MIB_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CORDON_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    center: str
    nodes: int
    nodes_schedulable: int
    cpu_milli: Amounts
    memory_mib: Amounts
    disk_mib: Amounts
    models: _containers.RepeatedCompositeFieldContainer[ModelView]
    age_ms: int
    cordoned: bool
    agents: int
    agents_active: int
    in_flight_age_ms: int
    cordon_message: str
    def __init__(self, center: _Optional[str] = ..., nodes: _Optional[int] = ..., nodes_schedulable: _Optional[int] = ..., cpu_milli: _Optional[_Union[Amounts, _Mapping]] = ..., memory_mib: _Optional[_Union[Amounts, _Mapping]] = ..., disk_mib: _Optional[_Union[Amounts, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelView, _Mapping]]] = ..., age_ms: _Optional[int] = ..., cordoned: _Optional[bool] = ..., agents: _Optional[int] = ..., agents_active: _Optional[int] = ..., in_flight_age_ms: _Optional[int] = ..., cordon_message: _Optional[str] = ...) -> None: ...

class RegionView(_message.Message):
    __slots__ = ("region", "role", "centers")
    REGION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CENTERS_FIELD_NUMBER: _ClassVar[int]
    region: str
    role: str
    centers: _containers.RepeatedCompositeFieldContainer[CenterView]
    def __init__(self, region: _Optional[str] = ..., role: _Optional[str] = ..., centers: _Optional[_Iterable[_Union[CenterView, _Mapping]]] = ...) -> None: ...

class GetViewRequest(_message.Message):
    __slots__ = ("precision",)
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    precision: str
    def __init__(self, precision: _Optional[str] = ...) -> None: ...

class GetViewResponse(_message.Message):
    __slots__ = ("regions", "mark", "state", "precision", "mass_silence", "audit_findings", "allocations", "grants_total", "refusals_total")
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MASS_SILENCE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ALLOCATIONS_FIELD_NUMBER: _ClassVar[int]
    GRANTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    regions: _containers.RepeatedCompositeFieldContainer[RegionView]
    mark: _types_pb2.StoreMark
    state: PoolState
    precision: str
    mass_silence: bool
    audit_findings: int
    allocations: int
    grants_total: int
    refusals_total: int
    def __init__(self, regions: _Optional[_Iterable[_Union[RegionView, _Mapping]]] = ..., mark: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ..., state: _Optional[_Union[PoolState, str]] = ..., precision: _Optional[str] = ..., mass_silence: _Optional[bool] = ..., audit_findings: _Optional[int] = ..., allocations: _Optional[int] = ..., grants_total: _Optional[int] = ..., refusals_total: _Optional[int] = ...) -> None: ...

class WatchViewRequest(_message.Message):
    __slots__ = ("precision", "least_interval_ms", "resume_token")
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    LEAST_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    precision: str
    least_interval_ms: int
    resume_token: str
    def __init__(self, precision: _Optional[str] = ..., least_interval_ms: _Optional[int] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchViewResponse(_message.Message):
    __slots__ = ("view", "whole", "centers_gone", "resume_token")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    CENTERS_GONE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    view: GetViewResponse
    whole: bool
    centers_gone: _containers.RepeatedScalarFieldContainer[str]
    resume_token: str
    def __init__(self, view: _Optional[_Union[GetViewResponse, _Mapping]] = ..., whole: _Optional[bool] = ..., centers_gone: _Optional[_Iterable[str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class ListCentersRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "order_by", "precision")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    order_by: str
    precision: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class Center(_message.Message):
    __slots__ = ("region", "role", "view")
    REGION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    region: str
    role: str
    view: CenterView
    def __init__(self, region: _Optional[str] = ..., role: _Optional[str] = ..., view: _Optional[_Union[CenterView, _Mapping]] = ...) -> None: ...

class ListCentersResponse(_message.Message):
    __slots__ = ("centers", "next_page_token", "precision")
    CENTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    centers: _containers.RepeatedCompositeFieldContainer[Center]
    next_page_token: str
    precision: str
    def __init__(self, centers: _Optional[_Iterable[_Union[Center, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "center", "filter", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    center: str
    filter: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., center: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class NodeDevice(_message.Message):
    __slots__ = ("device", "granted_milli", "gone")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GRANTED_MILLI_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    device: _types_pb2.Device
    granted_milli: int
    gone: bool
    def __init__(self, device: _Optional[_Union[_types_pb2.Device, _Mapping]] = ..., granted_milli: _Optional[int] = ..., gone: _Optional[bool] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "region", "center", "agent", "total", "reserved", "foreign", "granted", "devices", "labels", "schedulable", "blockers", "age_ms", "leases", "cordon_message")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULABLE_FIELD_NUMBER: _ClassVar[int]
    BLOCKERS_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    CORDON_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    region: str
    center: str
    agent: str
    total: _types_pb2.Resources
    reserved: _types_pb2.Resources
    foreign: _types_pb2.Resources
    granted: _types_pb2.Resources
    devices: _containers.RepeatedCompositeFieldContainer[NodeDevice]
    labels: _containers.ScalarMap[str, str]
    schedulable: bool
    blockers: _containers.RepeatedScalarFieldContainer[str]
    age_ms: int
    leases: int
    cordon_message: str
    def __init__(self, name: _Optional[str] = ..., region: _Optional[str] = ..., center: _Optional[str] = ..., agent: _Optional[str] = ..., total: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., reserved: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., foreign: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., granted: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[NodeDevice, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., schedulable: _Optional[bool] = ..., blockers: _Optional[_Iterable[str]] = ..., age_ms: _Optional[int] = ..., leases: _Optional[int] = ..., cordon_message: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes", "next_page_token")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    next_page_token: str
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("name", "center", "region", "state", "session", "last_sync_age_ms", "nodes", "leases", "refusals", "last_refusal", "version", "backend", "broker")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LAST_SYNC_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    LAST_REFUSAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BROKER_FIELD_NUMBER: _ClassVar[int]
    name: str
    center: str
    region: str
    state: AgentState
    session: int
    last_sync_age_ms: int
    nodes: int
    leases: int
    refusals: int
    last_refusal: str
    version: str
    backend: str
    broker: str
    def __init__(self, name: _Optional[str] = ..., center: _Optional[str] = ..., region: _Optional[str] = ..., state: _Optional[_Union[AgentState, str]] = ..., session: _Optional[int] = ..., last_sync_age_ms: _Optional[int] = ..., nodes: _Optional[int] = ..., leases: _Optional[int] = ..., refusals: _Optional[int] = ..., last_refusal: _Optional[str] = ..., version: _Optional[str] = ..., backend: _Optional[str] = ..., broker: _Optional[str] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents", "next_page_token")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    next_page_token: str
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ForgetAgentRequest(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: str
    def __init__(self, agent: _Optional[str] = ...) -> None: ...

class ForgetAgentResponse(_message.Message):
    __slots__ = ("allocations_lost", "nodes_removed")
    ALLOCATIONS_LOST_FIELD_NUMBER: _ClassVar[int]
    NODES_REMOVED_FIELD_NUMBER: _ClassVar[int]
    allocations_lost: int
    nodes_removed: int
    def __init__(self, allocations_lost: _Optional[int] = ..., nodes_removed: _Optional[int] = ...) -> None: ...

class CordonRequest(_message.Message):
    __slots__ = ("node", "center", "message")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    node: str
    center: str
    message: str
    def __init__(self, node: _Optional[str] = ..., center: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class CordonResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: int
    def __init__(self, leases: _Optional[int] = ...) -> None: ...

class UncordonRequest(_message.Message):
    __slots__ = ("node", "center")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    node: str
    center: str
    def __init__(self, node: _Optional[str] = ..., center: _Optional[str] = ...) -> None: ...

class UncordonResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("node", "center", "message")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    node: str
    center: str
    message: str
    def __init__(self, node: _Optional[str] = ..., center: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DrainHolder(_message.Message):
    __slots__ = ("allocation_id", "tenant", "node", "remaining_ttl_ms", "releasing")
    ALLOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    RELEASING_FIELD_NUMBER: _ClassVar[int]
    allocation_id: str
    tenant: str
    node: str
    remaining_ttl_ms: int
    releasing: bool
    def __init__(self, allocation_id: _Optional[str] = ..., tenant: _Optional[str] = ..., node: _Optional[str] = ..., remaining_ttl_ms: _Optional[int] = ..., releasing: _Optional[bool] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("leases", "leases_at_start", "holders", "holders_omitted")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    LEASES_AT_START_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    leases: int
    leases_at_start: int
    holders: _containers.RepeatedCompositeFieldContainer[DrainHolder]
    holders_omitted: int
    def __init__(self, leases: _Optional[int] = ..., leases_at_start: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[DrainHolder, _Mapping]]] = ..., holders_omitted: _Optional[int] = ...) -> None: ...

class AuditPoolRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Finding(_message.Message):
    __slots__ = ("kind", "node", "lease_id", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: FindingKind
    node: str
    lease_id: str
    message: str
    def __init__(self, kind: _Optional[_Union[FindingKind, str]] = ..., node: _Optional[str] = ..., lease_id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AuditPoolResponse(_message.Message):
    __slots__ = ("findings", "findings_omitted", "nodes", "leases", "mark", "duration_ms")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    findings_omitted: int
    nodes: int
    leases: int
    mark: _types_pb2.StoreMark
    duration_ms: int
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., findings_omitted: _Optional[int] = ..., nodes: _Optional[int] = ..., leases: _Optional[int] = ..., mark: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class ListBrokersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Broker(_message.Message):
    __slots__ = ("name", "address", "version", "beat_age_ms", "uptime_ms", "agents", "chores", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BEAT_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    CHORES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    version: str
    beat_age_ms: int
    uptime_ms: int
    agents: int
    chores: bool
    revision: int
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., version: _Optional[str] = ..., beat_age_ms: _Optional[int] = ..., uptime_ms: _Optional[int] = ..., agents: _Optional[int] = ..., chores: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class ListBrokersResponse(_message.Message):
    __slots__ = ("brokers", "mark")
    BROKERS_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    brokers: _containers.RepeatedCompositeFieldContainer[Broker]
    mark: _types_pb2.StoreMark
    def __init__(self, brokers: _Optional[_Iterable[_Union[Broker, _Mapping]]] = ..., mark: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ...) -> None: ...
