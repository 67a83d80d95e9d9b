from computepool.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_ACTION_UNSPECIFIED: _ClassVar[LeaseAction]
    LEASE_ACTION_ADMIT: _ClassVar[LeaseAction]
    LEASE_ACTION_START: _ClassVar[LeaseAction]
    LEASE_ACTION_REVOKE: _ClassVar[LeaseAction]
LEASE_ACTION_UNSPECIFIED: LeaseAction
LEASE_ACTION_ADMIT: LeaseAction
LEASE_ACTION_START: LeaseAction
LEASE_ACTION_REVOKE: LeaseAction

class OpenSessionRequest(_message.Message):
    __slots__ = ("agent", "journal_id", "session", "agent_version", "protocol_version", "center", "region", "role", "seen", "boot_id", "held_leases", "backend")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    HELD_LEASES_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    agent: str
    journal_id: str
    session: int
    agent_version: str
    protocol_version: int
    center: str
    region: str
    role: str
    seen: _types_pb2.StoreMark
    boot_id: str
    held_leases: int
    backend: str
    def __init__(self, agent: _Optional[str] = ..., journal_id: _Optional[str] = ..., session: _Optional[int] = ..., agent_version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., center: _Optional[str] = ..., region: _Optional[str] = ..., role: _Optional[str] = ..., seen: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ..., boot_id: _Optional[str] = ..., held_leases: _Optional[int] = ..., backend: _Optional[str] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("mark", "next_sync_ms", "broker_version", "features")
    MARK_FIELD_NUMBER: _ClassVar[int]
    NEXT_SYNC_MS_FIELD_NUMBER: _ClassVar[int]
    BROKER_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    mark: _types_pb2.StoreMark
    next_sync_ms: int
    broker_version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mark: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ..., next_sync_ms: _Optional[int] = ..., broker_version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("node", "total", "reserved", "foreign", "devices", "labels", "unschedulable", "age_ms")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    UNSCHEDULABLE_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    node: str
    total: _types_pb2.Resources
    reserved: _types_pb2.Resources
    foreign: _types_pb2.Resources
    devices: _containers.RepeatedCompositeFieldContainer[_types_pb2.Device]
    labels: _containers.ScalarMap[str, str]
    unschedulable: bool
    age_ms: int
    def __init__(self, node: _Optional[str] = ..., total: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., reserved: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., foreign: _Optional[_Union[_types_pb2.Resources, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[_types_pb2.Device, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., unschedulable: _Optional[bool] = ..., age_ms: _Optional[int] = ...) -> None: ...

class HeldLease(_message.Message):
    __slots__ = ("lease_id", "state", "reason", "message", "record")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    state: _types_pb2.LeaseState
    reason: str
    message: str
    record: _types_pb2.LeaseRecord
    def __init__(self, lease_id: _Optional[str] = ..., state: _Optional[_Union[_types_pb2.LeaseState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., record: _Optional[_Union[_types_pb2.LeaseRecord, _Mapping]] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("agent", "session", "sequence", "part", "parts", "applied_revision", "leases", "nodes", "nodes_unchanged", "delta", "base_sequence", "nodes_gone", "leases_gone")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NODES_UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    BASE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NODES_GONE_FIELD_NUMBER: _ClassVar[int]
    LEASES_GONE_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session: int
    sequence: int
    part: int
    parts: int
    applied_revision: int
    leases: _containers.RepeatedCompositeFieldContainer[HeldLease]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeReport]
    nodes_unchanged: bool
    delta: bool
    base_sequence: int
    nodes_gone: _containers.RepeatedScalarFieldContainer[str]
    leases_gone: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agent: _Optional[str] = ..., session: _Optional[int] = ..., sequence: _Optional[int] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., applied_revision: _Optional[int] = ..., leases: _Optional[_Iterable[_Union[HeldLease, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[NodeReport, _Mapping]]] = ..., nodes_unchanged: _Optional[bool] = ..., delta: _Optional[bool] = ..., base_sequence: _Optional[int] = ..., nodes_gone: _Optional[_Iterable[str]] = ..., leases_gone: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaseCommand(_message.Message):
    __slots__ = ("lease_id", "action", "record", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    action: LeaseAction
    record: _types_pb2.LeaseRecord
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., action: _Optional[_Union[LeaseAction, str]] = ..., record: _Optional[_Union[_types_pb2.LeaseRecord, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("mark", "commands", "next_sync_ms", "least_gap_ms", "want_full", "part_accepted", "more")
    MARK_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SYNC_MS_FIELD_NUMBER: _ClassVar[int]
    LEAST_GAP_MS_FIELD_NUMBER: _ClassVar[int]
    WANT_FULL_FIELD_NUMBER: _ClassVar[int]
    PART_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    mark: _types_pb2.StoreMark
    commands: _containers.RepeatedCompositeFieldContainer[LeaseCommand]
    next_sync_ms: int
    least_gap_ms: int
    want_full: bool
    part_accepted: bool
    more: bool
    def __init__(self, mark: _Optional[_Union[_types_pb2.StoreMark, _Mapping]] = ..., commands: _Optional[_Iterable[_Union[LeaseCommand, _Mapping]]] = ..., next_sync_ms: _Optional[int] = ..., least_gap_ms: _Optional[int] = ..., want_full: _Optional[bool] = ..., part_accepted: _Optional[bool] = ..., more: _Optional[bool] = ...) -> None: ...

class WatchCommandsRequest(_message.Message):
    __slots__ = ("agent", "session")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session: int
    def __init__(self, agent: _Optional[str] = ..., session: _Optional[int] = ...) -> None: ...

class WatchCommandsResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("agent", "session")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session: int
    def __init__(self, agent: _Optional[str] = ..., session: _Optional[int] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
