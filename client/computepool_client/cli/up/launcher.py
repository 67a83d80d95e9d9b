"""Becomes a daemon that does not outlive the command which started it.

Run as `python -m computepool_client.cli.up.launcher PARENT_PID MODULE [ARGUMENT...]`.
Asks the kernel (Linux) to send SIGTERM when the parent ends, however it ends, and
then turns into `python -m MODULE ARGUMENT...`, or into the program whose absolute
path stands for the module; the process id stays. A
process of its own does this, since code between fork and exec is not safe in a
program with threads. Elsewhere than on Linux a parent that is killed leaves its
children running. Imports the standard library only.
"""

import ctypes
import os
import signal
import sys

# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns: it execs, or exits when the parent has already gone."""
    parent, module, *rest = arguments
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):
        sys.exit("the command that started this has ended")
    command = [module] if module.startswith("/") else [sys.executable, "-m", module]
    os.execv(command[0], [*command, *rest])  # noqa: S606 - our own modules, and what we were told


if __name__ == "__main__":
    main(sys.argv[1:])
