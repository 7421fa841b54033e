#!/usr/bin/env bash
# Understudy in a cluster: builds the programs of a node (once), makes images of
# this build, starts the node, and runs the tests on it.
# usage: scripts/test-kubernetes.sh [arguments of cargo nextest]; KEEP=1 leaves the
# node's logs in place and says where.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
[ "$(id -u)" = 0 ] || die "a Kubernetes node needs root: run this as root, or leave it out"
PATH=$(scripts/tools.sh):$PATH
scripts/debian.sh containerd runc containernetworking-plugins iptables conntrack openssl curl binutils
programs=$(scripts/kubernetes.sh)
ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(scripts/onnxruntime.sh)}
export ORT_DYLIB_PATH
building
cargo build --release --quiet --workspace --bins --tests
"$CARGO_TARGET_DIR/release/understudy" model pull
site=$(dirname "$("$(scripts/venv.sh tests/agents/requirements.txt)" -c 'import openai; print(openai.__path__[0])')")
say "the chart"
"$(scripts/venv.sh tests/kubernetes/requirements.txt)" tests/kubernetes/chart.py "$programs/helm" "$programs/helm-docs"
say "alerts"
"$programs/promtool" check rules helm/understudy/alerts.yaml
"$programs/promtool" test rules tests/kubernetes/alerts.yaml
say "dashboards"
CGO_ENABLED=0 GOFLAGS=-mod=readonly go run -C tests/kubernetes/grafana . "$PWD"/helm/understudy/dashboards/*.json
work=$(mktemp -d /tmp/understudy-node.XXXXXX)
finish() { tests/kubernetes/node.sh stop "$work/run" || true; [ -n "${KEEP:-}" ] && say "logs: $work" || rm -rf "$work"; }
trap finish EXIT
trap 'exit 130' INT TERM
say "images"
tests/kubernetes/images.sh "$work/images" "$CARGO_TARGET_DIR/release" "$programs" "$site"
say "a node"
# Its addresses are fixed: two at once would take each other's.
exec 7>>"$UNDERSTUDY_CACHE/kubernetes/.node.lock"
flock 7
tests/kubernetes/node.sh start "$work/run" "$programs" "$work/images"
say "tests in the cluster"
KUBECONFIG=$work/run/admin.kubeconfig UNDERSTUDY_HELM=$programs/helm UNDERSTUDY_PROMETHEUS=$programs/prometheus \
  UNDERSTUDY_NODE_TASKS="ctr -a $work/run/containerd/containerd.sock -n k8s.io tasks ls" \
  UNDERSTUDY_NODE_APISERVER=$(sed -n 3p "$work/run/pids") \
  UNDERSTUDY_NODE_APISERVER_LOG=$work/run/apiserver.log \
  UNDERSTUDY_NODE_KUBELET="$PWD/tests/kubernetes/node.sh restart-kubelet $work/run" \
  cargo nextest run --release --workspace --profile kubernetes --no-capture "$@"
