#!/usr/bin/env bash
# Makes a Python environment from a pinned requirements file under the cache
# folder, once for each content of that file, and prints its python.
# usage: scripts/venv.sh REQUIREMENTS
set -euo pipefail
. "$(dirname "$0")/env.sh"
need python3 "install Python 3.11 or later"
[ -f "$1" ] || die "no requirements file at $1"
venv=$(venv_of "$1")
if ! [ -f "$venv/ready" ]; then
  say "making the Python environment of $1"
  rm -rf "$venv"
  python3 -m venv "$venv" || die "python3 -m venv failed: on Debian, install python3-venv"
  "$venv/bin/python" -m pip install --quiet -r "$1" >&2
  touch "$venv/ready"
fi
printf '%s\n' "$venv/bin/python"
