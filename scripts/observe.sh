#!/usr/bin/env bash
# Jaeger without Docker: builds it once, starts it, runs the demo with its traces going
# there, and prints where to look. It ends with Ctrl-C, and Jaeger with it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
need curl "install it with your package manager"
programs=$(scripts/kubernetes.sh jaeger)
ui=http://127.0.0.1:16686
curl -s --max-time 1 --output /dev/null "$ui" && die "something listens on port 16686 already; stop it, or look there: $ui"
log=$(mktemp "${TMPDIR:-/tmp}/understudy-jaeger.XXXXXX")
"$programs/jaeger" >"$log" 2>&1 &
jaeger=$!
trap 'kill "$jaeger" 2>/dev/null || true; wait 2>/dev/null || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM
for _ in $(seq 100); do curl -s --max-time 1 --output /dev/null "$ui" && break; sleep 0.1; done
curl -s --max-time 1 --output /dev/null "$ui" || { tail -20 "$log" >&2; die "Jaeger did not start"; }
say "Jaeger shows what comes: $ui/search?service=understudy"

export UNDERSTUDY_TELEMETRY_ENDPOINT=http://127.0.0.1:4317 UNDERSTUDY_TELEMETRY_SIGNALS=traces
scripts/demo.sh

say "a trace of each way that a call went"
# shown WHAT TAG VALUE: one trace with it
shown() {
  curl -s "$ui/api/traces?service=understudy&limit=1&lookback=1h&tags=%7B%22$2%22%3A%22$3%22%7D" |
    python3 -c '
import json, sys
ui, what = sys.argv[1:]
for trace in json.load(sys.stdin).get("data") or []:
    print(f"  {what:<11}", ui + "/trace/" + trace["traceID"])' "$ui" "$1"
}
for lane in provider understudy audit control; do shown "$lane" understudy.lane "$lane"; done
shown demotion understudy.demoted true
echo "Ctrl-C ends Jaeger"
wait "$jaeger"
