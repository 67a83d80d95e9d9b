#!/usr/bin/env bash
# Make the virtual environment that every target uses. Says what is missing
# where it cannot; installs it where it may (root, with apt).
set -euo pipefail
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv}

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: needs Python 3.11 or newer; '$PYTHON' is $("$PYTHON" --version 2>/dev/null || echo missing)." \
         "Name another with PYTHON=python3.12 make ..." >&2
    exit 2
fi
if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$PYTHON" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $package" >&2
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package"; } >&2
    else
        echo "setup: this Python has no venv; install it first: apt-get install $package" >&2
        exit 2
    fi
fi
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
echo "setup: installing what computepool needs into $VENV (a minute or so the first time)" >&2
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -U 'pip>=25.1'
"$VENV/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt --group dev -e .
