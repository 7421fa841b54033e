#!/usr/bin/env bash
# What CI runs beside the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
PATH=$(scripts/tools.sh):$PATH
building
say "format";        cargo fmt --all --check
say "clippy";        cargo clippy --release --workspace --all-targets --quiet -- -D warnings
say "docs";          RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet
say "deny"
cargo deny --log-level error check bans licenses sources
# The advisory database is a git repository elsewhere: what cannot be fetched is
# said, and what is known to be wrong fails.
if cargo deny --log-level error fetch db >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "skipped: advisories (their database cannot be fetched from here)"
fi
say "machete";       cargo machete
say "scripts and image"
linters=$(dirname "$(scripts/venv.sh scripts/lint-requirements.txt)")
git ls-files '*.sh' .ci/run | xargs "$linters/shellcheck" --severity warning
git ls-files '*.py' | xargs "$linters/ruff" check --no-cache --quiet --select E9,F,PLE
"$linters/hadolint" Dockerfile
say "generated pages in step"
cargo build --release --quiet --workspace --bins --tests
diff -u docs/configuration.md <("$CARGO_TARGET_DIR/release/understudy" check --document) || die "docs/configuration.md is out of step: run 'understudy check --document > docs/configuration.md'"
table=$(sed -n '/<!-- annotations -->/,/<!-- annotations -->/p' docs/kubernetes.md | grep '^|')
diff -u <(printf '%s\n' "$table") <("$CARGO_TARGET_DIR/release/understudy-injector" annotations) || die "docs/kubernetes.md is out of step: put the output of 'understudy-injector annotations' between its marks"
say "check: all clean"
