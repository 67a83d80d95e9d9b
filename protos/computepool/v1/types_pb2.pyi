from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceHealth(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_HEALTH_UNSPECIFIED: _ClassVar[DeviceHealth]
    DEVICE_HEALTH_HEALTHY: _ClassVar[DeviceHealth]
    DEVICE_HEALTH_UNHEALTHY: _ClassVar[DeviceHealth]

class ContactPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTACT_POLICY_UNSPECIFIED: _ClassVar[ContactPolicy]
    CONTACT_POLICY_KEEP: _ClassVar[ContactPolicy]
    CONTACT_POLICY_STOP_AFTER: _ClassVar[ContactPolicy]
    CONTACT_POLICY_REPLACE_AFTER: _ClassVar[ContactPolicy]

class SpreadOver(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPREAD_OVER_UNSPECIFIED: _ClassVar[SpreadOver]
    SPREAD_OVER_NODES: _ClassVar[SpreadOver]
    SPREAD_OVER_CENTERS: _ClassVar[SpreadOver]
    SPREAD_OVER_REGIONS: _ClassVar[SpreadOver]

class LeaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_STATE_UNSPECIFIED: _ClassVar[LeaseState]
    LEASE_STATE_PENDING: _ClassVar[LeaseState]
    LEASE_STATE_ADMITTED: _ClassVar[LeaseState]
    LEASE_STATE_STARTED: _ClassVar[LeaseState]
    LEASE_STATE_REFUSED: _ClassVar[LeaseState]
    LEASE_STATE_RELEASING: _ClassVar[LeaseState]
    LEASE_STATE_STOPPED: _ClassVar[LeaseState]
    LEASE_STATE_GONE: _ClassVar[LeaseState]
DEVICE_HEALTH_UNSPECIFIED: DeviceHealth
DEVICE_HEALTH_HEALTHY: DeviceHealth
DEVICE_HEALTH_UNHEALTHY: DeviceHealth
CONTACT_POLICY_UNSPECIFIED: ContactPolicy
CONTACT_POLICY_KEEP: ContactPolicy
CONTACT_POLICY_STOP_AFTER: ContactPolicy
CONTACT_POLICY_REPLACE_AFTER: ContactPolicy
SPREAD_OVER_UNSPECIFIED: SpreadOver
SPREAD_OVER_NODES: SpreadOver
SPREAD_OVER_CENTERS: SpreadOver
SPREAD_OVER_REGIONS: SpreadOver
LEASE_STATE_UNSPECIFIED: LeaseState
LEASE_STATE_PENDING: LeaseState
LEASE_STATE_ADMITTED: LeaseState
LEASE_STATE_STARTED: LeaseState
LEASE_STATE_REFUSED: LeaseState
LEASE_STATE_RELEASING: LeaseState
LEASE_STATE_STOPPED: LeaseState
LEASE_STATE_GONE: LeaseState

class Resources(_message.Message):
    __slots__ = ("cpu_milli", "memory_mib", "disk_mib", "extras")
    class ExtrasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CPU_MILLI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    DISK_MIB_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    extras: _containers.ScalarMap[str, int]
    def __init__(self, cpu_milli: _Optional[int] = ..., memory_mib: _Optional[int] = ..., disk_mib: _Optional[int] = ..., extras: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "model", "memory_mib", "health", "foreign_milli")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_MILLI_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    memory_mib: int
    health: DeviceHealth
    foreign_milli: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., memory_mib: _Optional[int] = ..., health: _Optional[_Union[DeviceHealth, str]] = ..., foreign_milli: _Optional[int] = ...) -> None: ...

class DeviceShare(_message.Message):
    __slots__ = ("device_id", "milli")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    MILLI_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    milli: int
    def __init__(self, device_id: _Optional[str] = ..., milli: _Optional[int] = ...) -> None: ...

class ContactTerm(_message.Message):
    __slots__ = ("policy", "after_s")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AFTER_S_FIELD_NUMBER: _ClassVar[int]
    policy: ContactPolicy
    after_s: int
    def __init__(self, policy: _Optional[_Union[ContactPolicy, str]] = ..., after_s: _Optional[int] = ...) -> None: ...

class PartSpec(_message.Message):
    __slots__ = ("resources", "devices", "device_milli", "models", "min_device_memory_mib")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MILLI_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MIN_DEVICE_MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    resources: Resources
    devices: int
    device_milli: int
    models: _containers.RepeatedScalarFieldContainer[str]
    min_device_memory_mib: int
    def __init__(self, resources: _Optional[_Union[Resources, _Mapping]] = ..., devices: _Optional[int] = ..., device_milli: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., min_device_memory_mib: _Optional[int] = ...) -> None: ...

class Spread(_message.Message):
    __slots__ = ("over", "max_skew")
    OVER_FIELD_NUMBER: _ClassVar[int]
    MAX_SKEW_FIELD_NUMBER: _ClassVar[int]
    over: SpreadOver
    max_skew: int
    def __init__(self, over: _Optional[_Union[SpreadOver, str]] = ..., max_skew: _Optional[int] = ...) -> None: ...

class Power(_message.Message):
    __slots__ = ("gflops", "precision", "mixed")
    GFLOPS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    MIXED_FIELD_NUMBER: _ClassVar[int]
    gflops: int
    precision: str
    mixed: bool
    def __init__(self, gflops: _Optional[int] = ..., precision: _Optional[str] = ..., mixed: _Optional[bool] = ...) -> None: ...

class AllocationSpec(_message.Message):
    __slots__ = ("part", "count", "regions", "centers", "node_labels", "ttl_s", "contact", "spread", "power")
    class NodeLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PART_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    CENTERS_FIELD_NUMBER: _ClassVar[int]
    NODE_LABELS_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    POWER_FIELD_NUMBER: _ClassVar[int]
    part: PartSpec
    count: int
    regions: _containers.RepeatedScalarFieldContainer[str]
    centers: _containers.RepeatedScalarFieldContainer[str]
    node_labels: _containers.ScalarMap[str, str]
    ttl_s: int
    contact: ContactTerm
    spread: Spread
    power: Power
    def __init__(self, part: _Optional[_Union[PartSpec, _Mapping]] = ..., count: _Optional[int] = ..., regions: _Optional[_Iterable[str]] = ..., centers: _Optional[_Iterable[str]] = ..., node_labels: _Optional[_Mapping[str, str]] = ..., ttl_s: _Optional[int] = ..., contact: _Optional[_Union[ContactTerm, _Mapping]] = ..., spread: _Optional[_Union[Spread, _Mapping]] = ..., power: _Optional[_Union[Power, _Mapping]] = ...) -> None: ...

class StoreMark(_message.Message):
    __slots__ = ("identity", "epoch", "revision")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    identity: str
    epoch: int
    revision: int
    def __init__(self, identity: _Optional[str] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class LeaseRecord(_message.Message):
    __slots__ = ("lease_id", "allocation_id", "tenant", "request_id", "digest", "index", "count", "place_revision", "node", "devices", "resources", "spec", "mark", "description", "labels", "model")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PLACE_REVISION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    allocation_id: str
    tenant: str
    request_id: str
    digest: bytes
    index: int
    count: int
    place_revision: int
    node: str
    devices: _containers.RepeatedCompositeFieldContainer[DeviceShare]
    resources: Resources
    spec: AllocationSpec
    mark: StoreMark
    description: str
    labels: _containers.ScalarMap[str, str]
    model: str
    def __init__(self, lease_id: _Optional[str] = ..., allocation_id: _Optional[str] = ..., tenant: _Optional[str] = ..., request_id: _Optional[str] = ..., digest: _Optional[bytes] = ..., index: _Optional[int] = ..., count: _Optional[int] = ..., place_revision: _Optional[int] = ..., node: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[DeviceShare, _Mapping]]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., spec: _Optional[_Union[AllocationSpec, _Mapping]] = ..., mark: _Optional[_Union[StoreMark, _Mapping]] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., model: _Optional[str] = ...) -> None: ...
