"""Settings of the command that outlast one call: from the environment or a config file.

A flag goes before the environment, the environment before the file, the file
before what is built in. Reads files; imports neither typer nor gRPC.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from computepool_client import endpoints, errors
from computepool_client.cli import units

_LARGEST_BYTES: Final = 64 * 1024
DEFAULT_ENDPOINT: Final = endpoints.DEFAULT
FORMS: Final = ("table", "wide", "json", "name")
FILE_VARIABLE: Final = "COMPUTEPOOL_CLIENT_CONFIG"


@dataclass(eq=False)
class BadConfigError(errors.PoolError):
    """The config file, or a variable of the environment, says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key in the file, its variable, what it may be."""

    key: str
    variable: str
    built_in: str
    parse: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Found:
    """A setting in force: as text, and where it is from."""

    text: str
    source: str


def parse_output(text: str) -> str:
    """Checks a form of output.

    Raises:
        ValueError: there is no such form.
    """
    return units.parse_word(text, FORMS, "form of output")


def parse_endpoint(text: str) -> str:
    """Checks the addresses of one broker, or of several joined by commas.

    Raises:
        ValueError: one has another form than HOST:PORT, or there are too many.
    """
    return ",".join(endpoints.parse(text))


def parse_tenant(text: str) -> str:
    """Checks a tenant's name as the broker does.

    Raises:
        ValueError: it is none.
    """
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", text) is None:
        raise ValueError(
            f'{text!r} is no tenant: write 1 to 63 letters, digits, "-", "_" or ".", the first and '
            "the last a letter or a digit"
        )
    return text


SETTINGS: Final[Mapping[str, Setting]] = {
    each.key: each
    for each in (
        Setting("endpoint", "COMPUTEPOOL_ENDPOINT", DEFAULT_ENDPOINT, parse_endpoint),
        Setting("timeout", "COMPUTEPOOL_TIMEOUT", "10s", units.parse_duration_s),
        Setting("output", "COMPUTEPOOL_OUTPUT", "table", parse_output),
        Setting("tenant", "COMPUTEPOOL_TENANT", "default", parse_tenant),
    )
}


def path() -> Path:
    """Where the config file is, if there is one."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "computepool" / "config.toml"


def find(key: str) -> Found:
    """What is in force for a key without a flag, and where it is from.

    Raises:
        BadConfigError: the variable or the file holds something that cannot be.
    """
    setting = SETTINGS[key]
    from_environment = os.environ.get(setting.variable)
    if from_environment:
        try:
            setting.parse(from_environment)
        except ValueError as error:
            raise BadConfigError(f"{setting.variable}: {error}", "BAD_CONFIG") from None
        return Found(from_environment, setting.variable)
    return from_file().get(key) or Found(setting.built_in, "built in")


def endpoint() -> str:
    """The broker to call, or several joined by commas, where no flag says it."""
    return parse_endpoint(find("endpoint").text)


def timeout_s() -> float:
    """How long to wait for an answer, in seconds, where no flag says it."""
    return units.parse_duration_s(find("timeout").text)


def output() -> str:
    """The form of output where no flag says it."""
    return find("output").text


def as_json() -> bool:
    """Whether JSON is the form of output where no flag says it."""
    return output() == "json"


def tenant() -> str:
    """Whose allocations are asked for where no flag says it."""
    return find("tenant").text


def from_file() -> dict[str, Found]:
    """All settings of the config file by their keys; none where there is no file.

    Raises:
        BadConfigError: it cannot be read, or says something that cannot be.
    """
    where = path()
    try:
        with where.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        if os.environ.get(FILE_VARIABLE):
            raise _bad(where, None, f"there is no such file ({FILE_VARIABLE} names it)") from None
        return {}
    except OSError as error:
        raise _bad(where, None, f"cannot be read: {error.strerror}") from None
    if len(raw) > _LARGEST_BYTES:
        raise _bad(where, None, "is too large for a config file: more than 64 KiB")
    text = _text(where, raw)
    return {key: _checked(where, text, key, value) for key, value in _toml(where, text).items()}


def _text(where: Path, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _bad(where, line, "is not UTF-8 text") from None


def _toml(where: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line ([0-9]+), column [0-9]+\)", str(error))
        message = str(error) if at is None else str(error).replace(at[0], "")
        line = text.count("\n") + 1 if at is None else int(at[1])
        raise _bad(where, line, f"is no TOML: {message}") from None
    except (ValueError, RecursionError) as error:  # numbers too long, nesting too deep for Python
        raise _bad(where, None, f"is no TOML: {error}") from None


def _checked(where: Path, text: str, key: str, value: object) -> Found:
    line = _line_of(text, key)
    setting = SETTINGS.get(key)
    if setting is None:
        near = difflib.get_close_matches(key, SETTINGS, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
        raise _bad(where, line, f"{key}: no such setting; {meant}")
    if not isinstance(value, str):
        raise _bad(where, line, f'{key}: must be text, such as {key} = "{setting.built_in}"')
    try:
        setting.parse(value)
    except ValueError as error:
        raise _bad(where, line, f"{key}: {error}") from None
    return Found(value, f"{where}, line {line}")


def _line_of(text: str, key: str) -> int:
    """The line that a key of the top level, or a table of its name, stands on."""
    quoted = re.escape(key)
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{quoted}["']?[ \t]*[]=.]""", text, re.MULTILINE)
    return text[: found.start()].count("\n") + 1 if found else 1


def _bad(where: Path, line: int | None, what: str) -> BadConfigError:
    place = f"{where}" if line is None else f"{where}, line {line}"
    metadata = {"file": str(where)} | ({"line": str(line)} if line is not None else {})
    return BadConfigError(f"{place}: {what}", "BAD_CONFIG", metadata)
