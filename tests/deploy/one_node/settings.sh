# Where the node's things lie, and its addresses: read by the other scripts. Whoever wants other folders sets them before.
# shellcheck shell=bash disable=SC2034
: "${FROSTMAP_NODE_BUILD:=/var/tmp/frostmap-node-build}" # what build.sh and images.sh leave: kept
: "${FROSTMAP_NODE:=/var/tmp/frostmap-node}"             # the node at work: made by up.sh, removed by down.sh
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../..")
tools=${FROSTMAP_DEPLOY_VENV:-$root/.venv-deploy}
bin=$FROSTMAP_NODE_BUILD/bin
images=$FROSTMAP_NODE_BUILD/images
version=1.20.2
tag=0.1.0
namespace=frostmap-node # of the network: everything but the pods is in it, and nothing else
host_address=10.77.0.1
node_address=10.77.0.2
pods=10.244.0
services=10.96.0
export KUBECONFIG=$FROSTMAP_NODE/keys/admin.kubeconfig
