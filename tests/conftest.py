"""What holds for all tests.

Its place puts tests/ on the path, so that `fakes` and `support` can be imported.
"""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Started in the background, a shell lets us ignore Ctrl-C, and all that we start with us."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
