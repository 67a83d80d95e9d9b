"""TLS to Redis: whether the files can be used, and what a failed handshake means.

May read the files that settings name; connects to nothing.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from computepool_broker.store.redis_address import RedisOptions

_NOT_BELIEVED = "does not believe our certificate: let its authority sign redis_cert"
_ALERTS = {
    "CERTIFICATE_REQUIRED": "asks for our certificate: set redis_cert and redis_key",
    "HANDSHAKE_FAILURE": "may ask for our certificate: set redis_cert and redis_key",
    "UNKNOWN_CA": _NOT_BELIEVED,
    "BAD_CERTIFICATE": _NOT_BELIEVED,
    "CERTIFICATE_EXPIRED": "finds our certificate expired: renew redis_cert",
    "WRONG_VERSION_NUMBER": "speaks no TLS there: write redis:// for rediss://, or its TLS port",
    "RECORD_LAYER_FAILURE": "speaks no TLS there: write redis:// for rediss://, or its TLS port",
}
"""By a part of OpenSSL's reason."""


def check_files(options: RedisOptions) -> None:
    """Load the PEM files once, so that a mistake is told by its setting.

    Raises:
        ValueError: A file cannot be read or is none; names the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if options.ca:
        try:
            context.load_verify_locations(cafile=options.ca)
        except OSError as error:
            raise ValueError(f"redis_ca: {_unusable(options.ca, error)}") from error
    if options.cert:
        try:
            context.load_cert_chain(options.cert, options.key or None, password=_no_password)
        except OSError as error:
            raise ValueError(_of_pair(options, error)) from error


def tls_problem(error: BaseException) -> str | None:
    """What a person has to change, where a TLS handshake is why a connection failed.

    Args:
        error: What the connection ended with; the reason may stand behind it.

    Returns:
        The end of a sentence that begins with the server's name; None when it is no matter of
        certificates.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, ssl.SSLCertVerificationError):
            return (
                f"shows a certificate that is not believed ({behind.verify_message}): set redis_ca "
                "to the PEM file of the authority that signed it, and name the server as it does"
            )
        if isinstance(behind, ssl.SSLError):
            reason = behind.reason or ""
            for part, text in _ALERTS.items():
                if part in reason:
                    return text
        behind = behind.__cause__ or behind.__context__
    return None


def hint_of_hanging_up(options: RedisOptions, *, tls: bool) -> str:
    """What to look at when a server hangs up on our first words.

    With TLS 1.3 its alert that it misses our certificate is mostly lost in the hanging up.
    """
    if not tls:
        return "if it speaks TLS there, write rediss://"
    if not options.cert:
        return "if it asks for our certificate, set redis_cert and redis_key"
    return "if it does not believe our certificate, let its authority sign redis_cert"


def _no_password() -> str:
    # Without this OpenSSL would ask for it on the terminal.
    return ""


def _of_pair(options: RedisOptions, error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and "KEY_VALUES_MISMATCH" in (error.reason or ""):
        return f"redis_key: is not the key of {options.cert}"
    if options.key and not _readable(options.key):
        return f"redis_key: {_unusable(options.key, error)}"
    return f"redis_cert: {_unusable(options.cert, error)}, or its key is missing or encrypted"


def _readable(path: str) -> bool:
    try:
        with open(path, "rb"):  # noqa: PTH123 - as OpenSSL opens it
            return True
    except OSError:
        return False


def _unusable(path: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{path} is no PEM file that can be used ({error.reason or 'unknown'})"
    return f"cannot read {path}: {error.strerror}"
