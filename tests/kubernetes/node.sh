#!/usr/bin/env bash
# One real Kubernetes node inside this machine: etcd, API server, controller
# manager, scheduler, kube-proxy, CoreDNS, containerd, kubelet. No registry: images
# are tar files, and a pull of any other image goes to a closed port.
# usage: node.sh start RUN BIN IMAGES | node.sh restart-kubelet RUN | node.sh stop RUN
#   RUN     scratch folder with a short path; RUN/admin.kubeconfig is what clients need
#   BIN     the programs (scripts/kubernetes.sh)
#   IMAGES  folder of *.tar (image.py)
# Needs root, cgroup v1 or v2, and Debian's containerd, runc, CNI plugins, iptables,
# conntrack. It listens on loopback and on the address of a bridge of its own; pods
# reach each other, that address, and nothing else.
set -euo pipefail

BRIDGE=und0 ADDRESS=10.88.0.1 PODS=10.88.0.0/16 SERVICES=10.96.0.0/16 NODE=node-1 PORT=16443
here=$(dirname "$(realpath "$0")")
command=${1:?start, restart-kubelet or stop} RUN=${2:?the scratch folder}
mkdir -p "$RUN"
RUN=$(realpath "$RUN")
cd "$RUN"

die() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || tail -n 20 "$2" >&2; exit 1; }
# until_ok TENTHS COMMAND…
until_ok() { local n=$1; shift; for _ in $(seq "$n"); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; return 1; }
get() { curl -sf --noproxy '*' --cacert pki/ca.crt --cert pki/admin.crt --key pki/admin.key "https://$ADDRESS:$PORT$1"; }
ctr_() { timeout 60 ctr -a "$RUN/containerd/containerd.sock" -n k8s.io "$@"; }
# A process that has ended may be a zombie for a moment.
alive() { [ -e "/proc/$1/status" ] && ! grep -qE '^State:.*(zombie|dead)' "/proc/$1/status"; }
spawn() { local log=$1; shift; "$@" >"$log.log" 2>&1 & echo $! >>pids; }

keys() {
  [ -f pki/ca.crt ] && return
  local key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  openssl req -x509 $key -days 30 -subj /CN=test-ca -keyout pki/ca.key -out pki/ca.crt 2>/dev/null
  one() { # NAME SUBJECT [NAMES]
    openssl req $key -subj "$2" -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
    printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"pki/$1.ext"
    openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 30 -extfile "pki/$1.ext" -out "pki/$1.crt" 2>/dev/null
  }
  one apiserver /CN=kube-apiserver "IP:$ADDRESS,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  one admin /O=system:masters/CN=admin
  one controller /CN=system:kube-controller-manager
  one scheduler /CN=system:kube-scheduler
  one proxy /CN=system:kube-proxy
  one kubelet "/O=system:nodes/CN=system:node:$NODE" "IP:$ADDRESS,DNS:$NODE"
  openssl genrsa -out pki/accounts.key 2048 2>/dev/null
  openssl rsa -in pki/accounts.key -pubout -out pki/accounts.pub 2>/dev/null
  for user in admin controller scheduler proxy kubelet; do
    cat >"$user.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$ADDRESS:$PORT", certificate-authority: $RUN/pki/ca.crt}}]
users: [{name: $user, user: {client-certificate: $RUN/pki/$user.crt, client-key: $RUN/pki/$user.key}}]
contexts: [{name: test, context: {cluster: test, user: $user}}]
current-context: test
YAML
  done
}

network() {
  ip link show $BRIDGE >/dev/null 2>&1 || { ip link add $BRIDGE type bridge; ip addr add $ADDRESS/16 dev $BRIDGE; ip link set $BRIDGE up; }
  sysctl -q -w net.ipv4.conf.$BRIDGE.forwarding=1
  iptables -C FORWARD -i $BRIDGE ! -o $BRIDGE -j REJECT 2>/dev/null || iptables -I FORWARD -i $BRIDGE ! -o $BRIDGE -j REJECT
  cat >cni/conf/10-bridge.conflist <<JSON
{"cniVersion": "1.0.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$RUN/cni/ipam", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "$PODS", "gateway": "$ADDRESS"}]]}}]}
JSON
}

# containerd, its shims and the kubelet have a mount namespace of their own: their
# mounts end with them, folders whose place is fixed in the programs are RUN's, and
# the sysctls that they would change are files that already say what they want.
FIXED="/var/lib/kubelet /var/lib/cni /var/log/containers /run/containerd /run/netns"
namespace() {
  for d in $FIXED; do mkdir -p "private$d"; [ -d "$d" ] || { mkdir -p "$d"; echo "$d" >>made-folders; }; done
  while read -r name value; do
    mkdir -p "private/proc/sys/$(dirname "$name")"
    echo "$value" >"private/proc/sys/$name"
  done <<'SYSCTLS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
net/ipv4/ip_forward 1
SYSCTLS
  cat >inside.sh <<BASH
set -e
cd $RUN
for d in $FIXED; do mount --bind private\$d \$d; done
for f in \$(cd private; find proc/sys -type f); do mount --bind private/\$f /\$f; done
exec "\$@"
BASH
}

containerd_() {
  printf 'server = "http://127.0.0.1:1"\n[host."http://127.0.0.1:1"]\n  capabilities = ["pull", "resolve"]\n' >containerd/certs.d/_default/hosts.toml
  sed "s#@RUN@#$RUN#" "$here/containerd.toml" >containerd.toml
  spawn containerd unshare -m --propagation private bash inside.sh containerd -c "$RUN/containerd.toml"
  until_ok 100 ctr_ version || die "containerd did not start" containerd.log
  for image in "$1"/*.tar; do ctr_ images import "$image" >/dev/null; done
}

control_plane() {
  local peers=http://127.0.0.1:$((PORT + 2)) clients=http://127.0.0.1:$((PORT + 1))
  spawn etcd "$BIN/etcd" --data-dir etcd --name test --unsafe-no-fsync --listen-client-urls $clients \
    --advertise-client-urls $clients --listen-peer-urls $peers --initial-advertise-peer-urls $peers --initial-cluster test=$peers
  spawn apiserver "$BIN/kube-apiserver" --etcd-servers=$clients --bind-address=$ADDRESS --advertise-address=$ADDRESS \
    --secure-port=$PORT --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
    --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key --kubelet-certificate-authority=pki/ca.crt \
    --kubelet-preferred-address-types=InternalIP --service-cluster-ip-range=$SERVICES --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/accounts.pub \
    --service-account-signing-key-file=pki/accounts.key
  until_ok 600 get /readyz || die "the API server is not ready" apiserver.log
  local who
  as() { who=("--kubeconfig=$1.kubeconfig" "--authentication-kubeconfig=$1.kubeconfig" "--authorization-kubeconfig=$1.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --cert-dir=pki); }
  # At its usual 20 requests a second the first service account takes five seconds longer.
  as controller
  spawn controller "$BIN/kube-controller-manager" "${who[@]}" --secure-port=$((PORT + 3)) --use-service-account-credentials=true \
    --kube-api-qps=200 --kube-api-burst=400 --service-account-private-key-file=pki/accounts.key --root-ca-file=pki/ca.crt
  as scheduler
  spawn scheduler "$BIN/kube-scheduler" "${who[@]}" --secure-port=$((PORT + 4))
  spawn proxy "$BIN/kube-proxy" --kubeconfig=proxy.kubeconfig --hostname-override=$NODE --cluster-cidr=$PODS --proxy-mode=iptables \
    --bind-address=$ADDRESS --nodeport-addresses=$PODS --iptables-localhost-nodeports=false \
    --healthz-bind-address=127.0.0.1:$((PORT + 7)) --metrics-bind-address=127.0.0.1:$((PORT + 8)) \
    --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
  printf 'cluster.local:53 {\n bind %s\n errors\n kubernetes cluster.local {\n  kubeconfig %s/admin.kubeconfig\n  ttl 1\n }\n}\n.:53 {\n bind %s\n template IN ANY . {\n  rcode NXDOMAIN\n }\n}\n' \
    $ADDRESS "$RUN" $ADDRESS >Corefile
  spawn dns "$BIN/coredns" -conf Corefile
}

kubelet_() {
  echo "nameserver $ADDRESS" >resolv.conf
  cat >kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$RUN/containerd/containerd.sock
address: $ADDRESS
port: $((PORT + 5))
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: $((PORT + 6))
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet.crt
tlsPrivateKeyFile: $RUN/pki/kubelet.key
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
podLogsDir: $RUN/pod-logs
volumePluginDir: $RUN/volume-plugins
resolvConf: $RUN/resolv.conf
clusterDNS: [$ADDRESS]
clusterDomain: cluster.local
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
YAML
  spawn kubelet nsenter -m -t "$(head -n 1 pids)" "$BIN/kubelet" --config="$RUN/kubelet.yaml" --kubeconfig="$RUN/kubelet.kubeconfig" \
    --root-dir="$RUN/kubelet" --cert-dir="$RUN/pki" --hostname-override=$NODE --node-ip=$ADDRESS
  is_ready() { get /api/v1/nodes/$NODE | tr -d ' \n' | grep -q '"type":"Ready","status":"True"'; }
  until_ok 900 is_ready || die "the node is not ready" kubelet.log
  until_ok 300 get /api/v1/namespaces/default/serviceaccounts/default || die "no service account" controller.log
}

start() {
  BIN=$(realpath "$1") IMAGES=$(realpath "$2")
  for program in containerd runc iptables openssl curl conntrack; do
    command -v $program >/dev/null || die "$program is not installed: apt-get install containerd runc containernetworking-plugins iptables conntrack openssl curl"
  done
  [ "$(id -u)" = 0 ] || die "a node needs root"
  [ ! -s pids ] || die "a node runs in $RUN already: node.sh stop $RUN"
  mkdir -p pki etcd cni/conf kubelet pod-logs volume-plugins containerd/opt containerd/certs.d/_default
  echo "$BIN" >programs
  : >pids
  keys
  network
  namespace
  containerd_ "$IMAGES"
  control_plane
  kubelet_
}

# The kubelet came last. It is killed, as a crash would, and started anew.
restart_kubelet() {
  BIN=$(cat programs)
  end "$(tail -n 1 pids)"
  sed -i '$d' pids
  kubelet_
  until_ok 300 curl -sf --noproxy '*' "http://127.0.0.1:$((PORT + 6))/healthz" || die "the kubelet did not come back" kubelet.log
}

end() { # PID…: a KILL each, since all of it is thrown away, and up to 15 s
  kill -KILL "$@" 2>/dev/null || true
  for pid in "$@"; do until_ok 150 dead "$pid" || true; done
}
dead() { ! alive "$1"; }

stop() {
  set +e
  [ -f pids ] || return 0
  mapfile -t all <pids
  # The kubelet first, or it starts again what we end.
  mapfile -t last_first < <(printf '%s\n' "${all[@]:1}" | tac)
  [ ${#all[@]} -gt 1 ] && end "${last_first[@]}"
  for t in $(ctr_ tasks ls -q 2>/dev/null); do ctr_ tasks kill -s KILL "$t" 2>/dev/null; done
  for t in $(ctr_ tasks ls -q 2>/dev/null); do ctr_ tasks delete -f "$t" >/dev/null 2>&1; done
  for c in $(ctr_ containers ls -q 2>/dev/null); do ctr_ containers delete "$c" >/dev/null 2>&1; done
  [ ${#all[@]} -gt 0 ] && end "${all[0]}"
  # Shims that are left are known by their own socket.
  for p in /proc/[0-9]*; do
    tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -q "containerd-shim-runc-v2 .*-address $RUN/containerd/containerd.sock" && kill -KILL "${p#/proc/}"
  done
  "$(cat programs)/kube-proxy" --cleanup >>proxy.log 2>&1
  for t in iptables ip6tables; do
    for c in INPUT OUTPUT; do $t -D $c -j KUBE-FIREWALL 2>/dev/null; done
    $t -F KUBE-FIREWALL 2>/dev/null && $t -X KUBE-FIREWALL
  done
  ip link delete $BRIDGE 2>/dev/null
  iptables -D FORWARD -i $BRIDGE ! -o $BRIDGE -j REJECT 2>/dev/null
  for d in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods; do
    for _ in 1 2 3; do
      [ -d "$d" ] || break
      find "$d" -depth -type d -exec rmdir {} \; 2>/dev/null
      sleep 0.3
    done
  done
  [ -f made-folders ] && tac made-folders | xargs -r rmdir 2>/dev/null
  cd /
  [ -n "${KEEP:-}" ] && { : >"$RUN/pids"; return 0; }
  rm -rf --one-file-system "$RUN"
}

case $command in
  start) start "${3:?the programs}" "${4:?the images}" ;;
  restart-kubelet) restart_kubelet ;;
  stop) stop ;;
  *) die "$command is none of start, restart-kubelet and stop" ;;
esac
