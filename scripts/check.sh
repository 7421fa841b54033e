#!/usr/bin/env bash
# What CI runs beside the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
PATH=$(scripts/tools.sh):$PATH
say "format";        cargo fmt --all --check
say "clippy";        cargo clippy --release --workspace --all-targets --quiet -- -D warnings
say "docs";          RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
say "deny";          cargo deny --log-level error check
say "machete";       cargo machete
say "configuration page in step"
cargo build --release --quiet --workspace --bins
diff -u docs/configuration.md <("$CARGO_TARGET_DIR/release/understudy" check --document) || die "docs/configuration.md is out of step: run 'understudy check --document > docs/configuration.md'"
say "check: all clean"
