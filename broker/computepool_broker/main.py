"""`computepool-broker`: reads settings, runs the broker."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from computepool_broker import __version__, config, logs
from computepool_broker.errors import PoolError

SWITCH_INTERVAL_S = 0.0005


def parser() -> argparse.ArgumentParser:
    """Every knob as a flag, with its unit and default."""
    out = argparse.ArgumentParser(
        prog="computepool-broker",
        description="The broker: agents report to it, clients allocate from it.",
        epilog="Each flag can also be set in the environment (COMPUTEPOOL_LISTEN, ...) or in the "
        "TOML file of --config (listen = ...). Exit codes: 0 stopped, 1 failed, 2 bad setting.",
    )
    out.add_argument("--version", action="version", version=__version__)
    out.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for knob in fields(config.Config):
        if not knob.metadata["flag"]:
            continue
        flag = "--" + knob.name.replace("_", "-")
        text = knob.metadata["help"]
        if isinstance(knob.default, bool):
            out.add_argument(flag, action="store_const", const=True, help=text)
        else:
            shown = "" if knob.default == "" else f" (default: {knob.default})"
            out.add_argument(flag, metavar=knob.name.rpartition("_")[2].upper(), help=text + shown)
    return out


def main() -> None:
    """Entry point; exits with 0, 1 or 2."""
    given: dict[str, Any] = {k: v for k, v in vars(parser().parse_args()).items() if v is not None}
    file = given.pop("config", None) or os.environ.get("COMPUTEPOOL_CONFIG")
    try:
        layer = config.from_file(Path(file)) if file else {}
        settings = config.build(layer, config.from_env(dict(os.environ)), given)
    except config.ConfigError as error:
        sys.exit(_complain(str(error), 2))
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(_run(settings))


def _run(settings: config.Config) -> int:
    # NumPy's linear algebra is not used: without this it starts a thread per core, which spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from computepool_broker.app import Broker  # noqa: PLC0415 - keeps --help fast

    # Each agent and client is an open file; the usual soft limit would be 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The ledger's writer must not wait 5 ms for the interpreter's lock after each fsync.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Records live long and make no cycles. A full collection of a large ledger stops all calls
    # for more than half a second: have it seldom (app.py exempts what the store had).
    gc.set_threshold(50_000, 50, 1_000)

    async def serve() -> int:
        return await Broker(settings).run()

    try:
        return asyncio.run(serve())
    except config.ConfigError as error:
        return _complain(str(error), 2)
    except PoolError as error:
        return _complain(f"{error.reason}: {error}", 2 if error.reason == "STORE_REFUSED" else 1)
    except OSError as error:
        return _complain(str(error), 1)


def _complain(text: str, code: int) -> int:
    print(f"computepool-broker: {text}", file=sys.stderr)  # noqa: T201 - to the user
    return code


if __name__ == "__main__":
    main()
