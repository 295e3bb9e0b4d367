#!/bin/bash
# Makes this machine the only node of a Kubernetes, in a network of its own, with frostmap's image and the Dask operator.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
here=$(dirname "$(realpath "$0")")
mkdir "$FROSTMAP_NODE" || { echo "a node is there already; down.sh removes it" >&2 && exit 1; }
cd "$FROSTMAP_NODE"
mkdir keys logs names network
began=$(date +%s)
say() { echo "$(($(date +%s) - began)) s: $*"; }
start() { # NAME PROGRAM ARGUMENT...
    nsenter --net="/run/netns/$namespace" setsid "${@:2}" >"logs/$1" 2>&1 &
}
until_so() { # SECONDS COMMAND...
    local give_up=$(($(date +%s) + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $give_up ] || { echo "not within $1 s: ${*:2}; see $FROSTMAP_NODE/logs" >&2 && exit 1; }
        sleep 0.3
    done
}

# ---- a network of its own, that this machine reaches ----
ip netns add $namespace
ip link add frostmap-node type veth peer name eth0 netns $namespace
ip addr add $host_address/24 dev frostmap-node
ip link set frostmap-node up
ip route add $pods.0/24 via $node_address
ip route add $services.0/24 via $node_address
inside=(nsenter --net="/run/netns/$namespace")
"${inside[@]}" sh -euc "
    ip addr add $node_address/24 dev eth0
    ip link set lo up
    ip link set eth0 up
    ip route add default via $host_address
    ip link add cni0 type bridge
    ip addr add $pods.1/24 dev cni0
    ip link set cni0 up
    sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
"

# ---- who is who ----
subject() { # NAME SUBJECT ALTERNATIVE-NAMES
    openssl req -newkey rsa:2048 -nodes -keyout "keys/$1.key" -out "keys/$1.csr" -subj "$2"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >"keys/$1.ext"
    openssl x509 -req -in "keys/$1.csr" -CA keys/ca.crt -CAkey keys/ca.key -CAcreateserial -days 30 \
        -extfile "keys/$1.ext" -out "keys/$1.crt"
    cat >"keys/$1.kubeconfig" <<C
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://$node_address:16443", certificate-authority: ca.crt}}]
users: [{name: $1, user: {client-certificate: $1.crt, client-key: $1.key}}]
contexts: [{name: node, context: {cluster: node, user: $1, namespace: default}}]
current-context: node
C
}
{
    openssl req -x509 -newkey rsa:2048 -nodes -keyout keys/ca.key -out keys/ca.crt -days 30 -subj /CN=node-authority
    subject apiserver /CN=kube-apiserver "DNS:kubernetes.default.svc,DNS:localhost,IP:$services.1,IP:$node_address"
    subject admin /O=system:masters/CN=admin DNS:admin
    subject controllers /O=system:masters/CN=controllers DNS:controllers
    subject kubelet /O=system:nodes/CN=system:node:node "DNS:node,IP:$node_address"
    openssl genrsa -out keys/accounts.key 2048
    openssl rsa -in keys/accounts.key -pubout -out keys/accounts.pub
} 2>logs/keys

# ---- the control plane ----
start etcd etcd --data-dir "$PWD/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
start apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --secure-port 16443 \
    --advertise-address $node_address --service-cluster-ip-range $services.0/24 --authorization-mode Node,RBAC \
    --tls-cert-file keys/apiserver.crt --tls-private-key-file keys/apiserver.key --client-ca-file keys/ca.crt \
    --kubelet-client-certificate keys/admin.crt --kubelet-client-key keys/admin.key \
    --kubelet-preferred-address-types InternalIP --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file keys/accounts.pub --service-account-signing-key-file keys/accounts.key
until_so 60 kubectl get --raw /readyz
say "the API server answers"
controllers=(--kubeconfig keys/controllers.kubeconfig --leader-elect=false --bind-address 127.0.0.1 --port 0)
start controllers "$bin/kube-controller-manager" "${controllers[@]}" --root-ca-file keys/ca.crt \
    --service-account-private-key-file keys/accounts.key
start scheduler "$bin/kube-scheduler" "${controllers[@]}"

# ---- the node ----
cat >network/node.conflist <<C
{"cniVersion": "0.4.0", "name": "node", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$PWD/addresses", "ranges": [[{"subnet": "$pods.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
cat >containerd.toml <<C
version = 2
root = "$PWD/containers/root"
state = "$PWD/containers/state"
[grpc]
  address = "$PWD/containers/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true # where this machine may not lower it
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$PWD/network"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
C
start containerd containerd --config containerd.toml
until_so 30 ctr --address containers/socket version
for image in pause frostmap; do
    ctr --address containers/socket --namespace k8s.io images import "$images/$image.tar" >logs/import
done
say "the images are there"
start kubelet "$bin/kubelet" --kubeconfig keys/kubelet.kubeconfig --hostname-override node --node-ip $node_address \
    --container-runtime remote --container-runtime-endpoint "unix://$PWD/containers/socket" --cgroup-driver cgroupfs \
    --root-dir "$PWD/kubelet" --cert-dir "$PWD/kubelet/keys" --tls-cert-file keys/kubelet.crt \
    --tls-private-key-file keys/kubelet.key --client-ca-file keys/ca.crt --anonymous-auth=false \
    --authorization-mode Webhook --cluster-dns $pods.1 --cluster-domain cluster.local --resolv-conf /dev/null \
    --fail-swap-on=false --oom-score-adj 0 --image-gc-high-threshold 100 --healthz-bind-address 127.0.0.1 \
    --eviction-hard 'memory.available<100Mi,nodefs.available<1Gi' \
    --sync-frequency 2s # one of 1.20 sees only then that a startup probe has succeeded
start proxy "$bin/kube-proxy" --kubeconfig keys/controllers.kubeconfig --proxy-mode iptables --hostname-override node \
    --cluster-cidr $pods.0/24 --conntrack-max-per-core 0 --bind-address $node_address \
    --metrics-bind-address 127.0.0.1 --healthz-bind-address 127.0.0.1
until_so 300 kubectl wait --for=condition=Ready node/node --timeout=1s
say "the node is ready"

# ---- names of services, and the Dask operator, which sees them as if it were in a pod ----
start dnsmasq dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --hostsdir="$PWD/names" --user=root \
    --listen-address=$pods.1 --bind-interfaces --local=/cluster.local/
start names "$here/names.sh"
kubectl apply -f "$(echo "$tools"/lib/python*/site-packages/dask_kubernetes/operator/deployment/helm/*/crds)" >/dev/null
until_so 30 kubectl wait --for=condition=Established crd --all --timeout=1s
printf 'nameserver %s\nsearch svc.cluster.local\noptions ndots:5\n' $pods.1 >resolv.conf
start operator unshare --mount sh -c "mount --bind resolv.conf /etc/resolv.conf &&
    exec '$tools/bin/kopf' run --module dask_kubernetes.operator.controller --all-namespaces"
say "the operator is at work; export FROSTMAP_ONE_NODE=$KUBECONFIG"
