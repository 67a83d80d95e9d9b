"""A daemon of a few lines, for units of what starts daemons: `python -m fakes.small_daemon`.

`--ready-file PATH` is written once SIGTERM is handled; `--fail TEXT` ends it at
once with status 3 and the text on stderr; `--deaf` makes it ignore SIGTERM.
"""

import argparse
import signal
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--fail", default="")
    parser.add_argument("--deaf", action="store_true")
    options = parser.parse_args()
    if options.fail:
        sys.stderr.write(options.fail + "\n")
        return 3
    # Blocked signals wait for sigwait instead of being lost before it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    options.ready_file.write_text("ready\n")
    waits_for = {signal.SIGUSR1} if options.deaf else {signal.SIGTERM, signal.SIGUSR1}
    signal.sigwait(waits_for)
    return 0


if __name__ == "__main__":
    sys.exit(main())
