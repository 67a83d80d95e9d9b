"""Fields of the protocol in the words of those who ask: keywords of the SDK, flags of the command.

Pure. What has no word of its own keeps the protocol's name.
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from computepool_client import errors

_Error = TypeVar("_Error", bound=errors.PoolError)

# A field, without indices and keys, to the keyword that fills it.
_KEYWORDS: Final = {
    "spec.part": "gpus",
    "spec.part.devices": "gpus",
    "spec.part.device_milli": "gpu_share",
    "spec.part.models": "model",
    "spec.part.min_device_memory_mib": "min_gpu_memory",
    "spec.part.resources.cpu_milli": "cpu",
    "spec.part.resources.memory_mib": "memory",
    "spec.part.resources.disk_mib": "disk",
    "spec.part.resources.extras": "extras",
    "spec.count": "count",
    "spec.regions": "region",
    "spec.centers": "center",
    "spec.node_labels": "node_labels",
    "spec.ttl_s": "ttl",
    "spec.contact": "contact",
    "spec.contact.policy": "contact",
    "spec.contact.after_s": "contact",
    "spec.spread": "spread",
    "spec.spread.over": "spread",
    "spec.spread.max_skew": "max_skew",
    "spec.power.gflops": "pflops",
    "spec.power.precision": "precision",
    "spec.power.mixed": "mixed",
    "ttl_s": "ttl",
    "ack_level": "ack",
}
_FLAGS: Final = {
    "gpu_share": "--gpu-milli",
    "extras": "--extra",
    "labels": "--label",
    "node_labels": "--node-label",
}
# What is no keyword, and a flag all the same.
_MORE_FLAGS: Final = frozenset(
    {"tenant", "request_id", "description", "message", "filter", "order_by", "resume_token"}
)
_REQUEST: Final = re.compile(r"(requests\[\d+\]\.)?(.*)", re.DOTALL)
_INSIDE: Final = re.compile(r"\[[^\]]*\].*", re.DOTALL)


def keyword(field: str) -> str:
    """The SDK's keyword for a field; of one request among several `requests[i].KEYWORD`."""
    match = _REQUEST.fullmatch(field)
    request, own = (match[1] or "", match[2]) if match else ("", field)
    return request + _KEYWORDS.get(_INSIDE.sub("", own), own)


def flag(field: str) -> str:
    """The command's flag for a field."""
    word = _KEYWORDS.get(_INSIDE.sub("", field), _INSIDE.sub("", field))
    if word in _FLAGS:
        return _FLAGS[word]
    known = word in _KEYWORDS.values() or word in _MORE_FLAGS
    return f"--{word.replace('_', '-')}" if known else field


def reworded(error: _Error, word: Callable[[str], str]) -> _Error:
    """The error itself, its fields and its message now in `word`'s words.

    `metadata` keeps what the broker has said.
    """
    if isinstance(error, errors.InvalidRequestError):
        for each in error.fields:
            error.message = _renamed(error.message, each.field, word(each.field))
        error.fields = tuple(
            errors.FieldViolation(word(each.field), each.description) for each in error.fields
        )
    return error


def _renamed(message: str, field: str, word: str) -> str:
    """Only where the message begins with the field, as the broker words it."""
    begins = message.startswith(f"{field}: ")
    return f"{word}{message.removeprefix(field)}" if begins else message
