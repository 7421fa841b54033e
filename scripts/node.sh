#!/usr/bin/env bash
# Installs the Node SDKs of tests/agents from its lock file under the cache
# folder and prints the node_modules folder.
set -euo pipefail
. "$(dirname "$0")/env.sh"
root=$(cd "$(dirname "$0")/.." && pwd)
need npm "install Node 20 or later"
hash=$(cat "$root"/tests/agents/package.json "$root"/tests/agents/package-lock.json | sha256sum | cut -c1-16)
dir=$UNDERSTUDY_CACHE/node/$hash
if ! [ -f "$dir/ready" ]; then
  say "installing the Node SDKs"
  rm -rf "$dir"; mkdir -p "$dir"
  cp "$root"/tests/agents/package.json "$root"/tests/agents/package-lock.json "$dir"/
  (cd "$dir" && npm ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved >&2)
  touch "$dir/ready"
fi
printf '%s\n' "$dir/node_modules"
