#!/usr/bin/env bash
# Jaeger without Docker: builds it once, starts it, runs the demo with its traces going
# there, and prints one of each way that a call went. It ends with Ctrl-C, and Jaeger with it.
# The Jaeger that is built has its API and no pages: those are not in the Go module.
# JAEGER=FILE takes another, such as one of Jaeger's releases, which has them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
need curl "install it with your package manager"
need python3 "install Python 3.11 or later"
if [ -n "${JAEGER:-}" ]; then
  program=$(command -v "$JAEGER") || die "JAEGER is $JAEGER, which is no program"
else
  program=$(scripts/kubernetes.sh jaeger)/jaeger
fi
jaeger=http://127.0.0.1:16686
curl -s --max-time 1 --output /dev/null "$jaeger" && die "something listens on port 16686 already; stop it first: $jaeger"
log=$(mktemp "${TMPDIR:-/tmp}/understudy-jaeger.XXXXXX")
"$program" >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM
for _ in $(seq 100); do curl -s --max-time 1 --output /dev/null "$jaeger" && break; sleep 0.1; done
curl -s --max-time 1 --output /dev/null "$jaeger" || { tail -20 "$log" >&2; die "Jaeger did not start"; }
if [ -n "${JAEGER:-}" ]; then
  say "Jaeger shows what comes: $jaeger/search?service=understudy"
else
  say "Jaeger takes what comes, and gives it out at $jaeger/api/traces?service=understudy"
fi

export UNDERSTUDY_TELEMETRY_ENDPOINT=http://127.0.0.1:4317 UNDERSTUDY_TELEMETRY_SIGNALS=traces
scripts/demo.sh

say "a trace of each way that a call went"
# shown WHAT TAG=VALUE: one trace with it, as text
shown() {
  printf '\n%s\n' "$1"
  python3 scripts/trace.py "$jaeger" "$2" || true
}
for lane in provider understudy audit control; do shown "$lane" "understudy.lane=$lane"; done
shown demotion understudy.demoted=true
echo
if [ -n "${JAEGER:-}" ]; then
  echo "as pages: $jaeger/search?service=understudy, and $jaeger/trace/ID each"
else
  echo "this Jaeger has no pages. With Docker deploy/compose has one that does; so has a release of Jaeger's: JAEGER=/path/to/jaeger make observe"
fi
echo "Ctrl-C ends Jaeger"
wait "$pid"
