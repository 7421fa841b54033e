# shellcheck shell=bash
# Sourced by the other scripts: where things are kept, outside the clone, so
# that a fresh clone on the same machine starts warm.
UNDERSTUDY_CACHE=${UNDERSTUDY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/understudy}
export UNDERSTUDY_CACHE
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$UNDERSTUDY_CACHE/target}
export UNDERSTUDY_MODELS=${UNDERSTUDY_MODELS:-$UNDERSTUDY_CACHE/models}
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$UNDERSTUDY_CACHE/pip}
export PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$UNDERSTUDY_CACHE" "$CARGO_TARGET_DIR" "$UNDERSTUDY_MODELS"

# To be called before cargo is. Cargo takes what another clone built for this
# one's wherever the files here are older, paths and all. Dependencies are
# common; our own crates are built anew when the clone is another, and two clones
# take turns: each script of the one holds the folder until it ends.
building() {
  local clone said=
  clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
  exec 9>>"$CARGO_TARGET_DIR/.clone.lock"
  until flock -s 9 && [ "$(cat "$CARGO_TARGET_DIR/.clone" 2>/dev/null)" = "$clone" ]; do
    flock -u 9
    if flock -n -x 9; then
      rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/understudy*
      printf '%s\n' "$clone" > "$CARGO_TARGET_DIR/.clone"
    else
      [ -n "$said" ] || say "another clone is at work in $CARGO_TARGET_DIR: waiting until it is done"
      said=yes
      sleep 1
    fi
  done
}

# Where the Python environment of a requirements file is, made or not.
venv_of() { printf '%s\n' "$UNDERSTUDY_CACHE/venv/$(sha256sum "$1" | cut -c1-16)"; }
say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is not installed: $2"; }
