#!/usr/bin/env bash
# The programs of a Kubernetes node, Helm, Jaeger and others, of pinned versions, built
# once from the module proxy into the cache folder; prints the folder. Some
# fifteen minutes on two cores the first time, then nothing.
# usage: scripts/kubernetes.sh [PROGRAM…]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
need go "install Go 1.26 or newer"
modules=$PWD/tests/kubernetes/go
# Another version is another folder: what was built stays right.
bin=$UNDERSTUDY_CACHE/kubernetes/$(cat "$modules"/*/go.mod | sha256sum | cut -c1-16)
mkdir -p "$bin"
exec 8>>"$bin/.lock"
flock 8
export CGO_ENABLED=0 GOFLAGS=-mod=mod GOBIN=

# build MODULE PACKAGE PROGRAM [LDFLAGS]
build() {
  [ -x "$bin/$3" ] && return
  say "building $3 (once)"
  (cd "$modules/$1" && go build -mod=readonly -trimpath -ldflags "-s -w ${4:-}" -o "$bin/.$3" "$2")
  mv "$bin/.$3" "$bin/$3"
}

# install MODULE@VERSION PROGRAM: one whose module is its own
install() {
  [ -x "$bin/$2" ] && return
  say "building $2 (once)"
  GOBIN=$bin GOFLAGS='' go install -trimpath -ldflags "-s -w" "$1"
}

# unpack PACKAGE PROGRAM…: Debian's, without installing it, which would start a service
unpack() {
  local package=$1 into
  shift
  [ -x "$bin/$1" ] && return
  say "fetching $package (once)"
  into=$(mktemp -d)
  (cd "$into" && { apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; } } >&2 && dpkg -x ./*.deb .)
  for program in "$@"; do mv "$into/usr/bin/$program" "$bin/.$program" && mv "$bin/.$program" "$bin/$program"; done
  rm -rf "$into"
}

# The version that the server reports: charts and clients go by it.
stamp() {
  local version package=k8s.io/component-base/version
  version=$(cd "$modules/kubernetes" && go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
  printf '%s' "-X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(echo "$version" | cut -d. -f2) -X $package.gitTreeState=clean"
}

all=(kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy etcd helm jaeger coredns helm-docs prometheus)
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")
for program in "${wanted[@]}"; do
  case $program in
    kube*) build kubernetes "k8s.io/kubernetes/cmd/$program" "$program" "$(stamp)" ;;
    etcd) build etcd go.etcd.io/etcd/server/v3 etcd ;;
    helm) build helm helm.sh/helm/v4/cmd/helm helm ;;
    jaeger) build jaeger github.com/jaegertracing/jaeger/cmd/jaeger jaeger ;;
    coredns) install github.com/coredns/coredns@v1.15.0 coredns ;;
    helm-docs) install github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2 helm-docs ;;
    prometheus) unpack prometheus prometheus promtool ;;
    *) die "$program is not one of ${all[*]}" ;;
  esac
done
printf '%s\n' "$bin"
