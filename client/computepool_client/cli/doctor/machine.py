"""Is this machine fit for the command, a broker or an agent?

Looks at the interpreter, installed packages, the environment, limits, a folder
and the driver of NVIDIA devices. What it concludes from values that are handed
in is pure; the rest reads this machine and changes nothing but one file that it
writes into the state folder and removes.
"""

import difflib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from computepool_client.cli import settings
from computepool_client.cli.doctor.findings import Finding, counted, fail, named, ok, warn

_PREFIX: Final = "COMPUTEPOOL_"
# gRPC reads these, in this order, in lower case.
_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_FEW_FILES: Final = 1024
_FILES_TO_SPARE: Final = 256
_SLOW_SYNC_MS: Final = 50.0
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_OVER_A_NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre")


def machine(host: str, agents: int) -> Iterator[Finding]:
    """All checks of this machine; `agents` report to the broker at `host`."""
    yield interpreter(sys.version_info[:3], _metadata("Requires-Python"))
    yield packages(_installed(), _required())
    yield config_file()
    yield from variables(os.environ)
    yield proxies(os.environ, host)
    yield open_files(_file_limit(), agents if is_local(host) else 0)
    yield driver()


def is_local(host: str) -> bool:
    """Whether a host is this machine by its name."""
    return host == "localhost" or host.startswith("127.") or host == "::1"


# -- the interpreter and its packages ----------------------------------------------------------


def interpreter(found: Sequence[int], wanted: str) -> Finding:
    """Whether this Python is new enough; `wanted` is such as ">=3.11"."""
    version = ".".join(map(str, found))
    if tuple(found) < numbers(wanted):
        todo = "make a virtual environment with a newer Python"
        return fail("python", f"Python {version} is too old: {wanted} is needed", todo)
    return ok("python", f"Python {version}")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, or of what asks for one, that can be compared."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def packages(installed: Mapping[str, str], required: Sequence[str]) -> Finding:
    """Whether every package is at least of the version that this one asks for.

    Args:
        installed: versions by name in lower case.
        required: such as "rich>=14.0" and "redis[hiredis]>=8.0".
    """
    bad = []
    count = 0
    for each in required:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*>=\s*([0-9][0-9.]*)", each)
        if match is None:
            continue
        count += 1
        found = installed.get(match[1].lower())
        if found is None or numbers(found) < numbers(match[2]):
            bad.append(f"{match[1]} is {found or 'missing'}, {match[2]} is needed")
    if bad:
        return fail("packages", "; ".join(bad), "install it again: pip install -U computepool")
    return ok("packages", f"{counted(count, 'package')} as new as needed")


def _metadata(name: str) -> str:
    from importlib.metadata import metadata  # noqa: PLC0415 - slow to import

    return metadata("computepool")[name] or ""


def _required() -> list[str]:
    from importlib.metadata import requires  # noqa: PLC0415 - see above

    return requires("computepool") or []


def _installed() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - see above

    found = {}
    for each in _required():
        name = re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]
        try:
            found[name.lower()] = version(name)
        except PackageNotFoundError:
            continue
    return found


# -- settings ----------------------------------------------------------------------------------


def config_file() -> Finding:
    """Whether the config file can be used."""
    where = settings.path()
    try:
        found = settings.from_file()
    except settings.BadConfigError as error:
        return fail("config-file", error.message, "correct the file, or remove it")
    if not found:
        return ok("config-file", f"none at {where}, or nothing in it: built-in settings")
    return ok("config-file", f"{where} sets {', '.join(sorted(found))}")


def variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the command's variables hold what they may, and are spelt as it reads them."""
    known = {each.variable: each for each in settings.SETTINGS.values()}
    bad = []
    for name, setting in known.items():
        value = environ.get(name)
        try:
            if value:
                setting.parse(value)
        except ValueError as error:
            bad.append(f"{name}: {error}")
    if bad:
        yield fail("variables", "; ".join(bad), "correct or unset it")
    misspelt = [(name, like) for name in environ if (like := _meant(name, sorted(known)))]
    if misspelt:
        told = [f"{name} (for {like}?)" for name, like in misspelt]
        yield warn("variables", f"nobody reads {named(told)}", "rename or unset it")
    if not bad and not misspelt:
        used = [name for name in known if environ.get(name)]
        yield ok("variables", f"{named(used)} set" if used else "no variable of the command is set")


def _meant(name: str, known: list[str]) -> str:
    if not name.startswith(_PREFIX) or name in known:
        return ""
    endings = {each.removeprefix(_PREFIX): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), endings, 1, 0.8)
    return endings[near[0]] if near else ""


def proxies(environ: Mapping[str, str], host: str) -> Finding:
    """Whether a web proxy stands between gRPC programs and the broker."""
    used = next((name for name in _PROXIES if environ.get(name)), "")
    if not used or is_local(host) or _exempt(environ, host):
        what = "no proxy is in the way" if not used else f"{used} does not concern {host}"
        return ok("proxies", what)
    todo = f"add {host} to no_proxy for agents and clients of your own; this command goes past it"
    return warn("proxies", f"{used} is set, and gRPC heeds it for {host}", todo)


def _exempt(environ: Mapping[str, str], host: str) -> bool:
    names = environ.get("no_grpc_proxy") or environ.get("no_proxy") or ""
    entries = [each.strip().lstrip(".") for each in names.split(",") if each.strip()]
    return any(each in ("*", host) or host.endswith(f".{each}") for each in entries)


# -- limits, folders, devices ------------------------------------------------------------------


def open_files(limit: int, agents: int) -> Finding:
    """Whether enough files can be open; a broker on this machine has `agents` to serve."""
    wanted = max(_FEW_FILES, agents + _FILES_TO_SPARE)
    if limit < wanted:
        todo = f"ulimit -n {wanted}, or LimitNOFILE= in the service's unit"
        what = f"at most {limit:,} files can be open, {wanted:,} would be safe"
        return warn("open-files", what, todo)
    return ok("open-files", f"{limit:,} files can be open")


def _file_limit() -> int:
    import resource  # noqa: PLC0415 - only here

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def state_dir(folder: Path) -> Iterator[Finding]:
    """Whether a state folder can be written, and is on a disk that keeps what is synced."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        yield fail("state-dir", f"{there} is no folder", "name another folder")
        return
    made = "" if there == folder else f" (it will be made in {there})"
    try:
        took_ms = _synced_ms(there)
    except OSError as error:
        todo = "give the user that runs the daemons the right to write there, or make room"
        yield fail("state-dir", f"{there} cannot be written: {error.strerror}", todo)
        return
    yield ok("state-dir", f"{folder} can be written{made}")
    yield disk(_file_system(there), took_ms)


def disk(kind: str, took_ms: float) -> Finding:
    """Whether a file system keeps a ledger; `took_ms` is the time that syncing a file took."""
    if kind in _IN_MEMORY:
        todo = "name a folder on a disk: leases would be lost when this machine restarts"
        return warn("disk", f"{kind} is in memory", todo)
    if kind in _OVER_A_NETWORK or kind.startswith("fuse"):
        todo = "name a folder on a local disk: locks and syncs over a network are not reliable"
        return warn("disk", f"{kind} is no local disk", todo)
    if took_ms > _SLOW_SYNC_MS:
        todo = "every grant waits for such a sync: a faster disk makes the broker faster"
        return warn("disk", f"{kind} takes {took_ms:.0f} ms to sync a file", todo)
    return ok("disk", f"{kind} syncs a file in {took_ms:.1f} ms")


def _synced_ms(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(prefix=".computepool-doctor-", dir=folder) as file:
        file.write(b"x" * 4096)
        file.flush()
        began_s = time.monotonic()
        os.fsync(file.fileno())
        return 1000 * (time.monotonic() - began_s)


def _file_system(folder: Path) -> str:
    """The kind of the file system that a folder is on; "unknown" where nothing says it."""
    import psutil  # noqa: PLC0415 - only here

    where = folder.resolve()
    mounted = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if where.is_relative_to(each.mountpoint)
    ]
    # The last of several mounts at one place is the one that is seen.
    return max(enumerate(mounted), key=lambda e: (e[1][0], e[0]))[1][1] if mounted else "unknown"


def driver() -> Finding:
    """Whether NVIDIA devices can be found here; none is no fault."""
    import pynvml  # noqa: PLC0415 - only here

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return ok(
            "nvidia", f"no NVIDIA device can be used here ({error}): an agent would have none"
        )
    try:
        count = pynvml.nvmlDeviceGetCount()
        return ok(
            "nvidia", f"driver {pynvml.nvmlSystemGetDriverVersion()}, {counted(count, 'device')}"
        )
    except pynvml.NVMLError as error:
        return warn("nvidia", f"the driver answers, but not for devices: {error}", "see nvidia-smi")
    finally:
        pynvml.nvmlShutdown()
