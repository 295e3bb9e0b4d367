#!/bin/bash
# Builds Kubernetes from the source package of Debian 12, where nothing else is to be had: some minutes, 0.4 GB.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
mkdir -p "$FROSTMAP_NODE_BUILD"/{bin,home,apt/etc,apt/state/lists/partial,apt/cache/archives/partial}
cd "$FROSTMAP_NODE_BUILD"

# lists of source packages, beside the machine's own lists
sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >apt/etc/sources.sources
touch apt/status
cat >apt/apt.conf <<C
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::SourceList "$PWD/apt/etc/sources.sources";
Dir::State "$PWD/apt/state";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt/cache";
C
APT_CONFIG=$PWD/apt/apt.conf apt-get update -qq
APT_CONFIG=$PWD/apt/apt.conf apt-get source --download-only kubernetes
tar xzf kubernetes_*"$version".orig.tar.gz
cd "kubernetes-$version"

# reflect2 of those days crashes when it is built with Go 1.18 or later: Debian's own copy is newer
reflect2=vendor/github.com/modern-go/reflect2
rm -rf "${reflect2:?}"/*
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} $reflect2/
rm -f $reflect2/*_test.go
# clients of today want names in the singular, which servers tell since 1.27
sed -i 's/^\(\t\t\)apiResource.Kind = resourceKind$/&\n\t\tif !isSubresource {\n\t\t\tapiResource.SingularName = strings.ToLower(resourceKind)\n\t\t}/' \
    staging/src/k8s.io/apiserver/pkg/endpoints/installer.go

cat >../version <<C
KUBE_GIT_COMMIT='debian'
KUBE_GIT_TREE_STATE='archive'
KUBE_GIT_VERSION='v$version'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
C
mkdir -p .go/src/k8s.io
ln -sfn ../../.. .go/src/k8s.io/kubernetes
export PATH=/usr/lib/go-1.19/bin:$PATH GOPATH=$PWD/.go HOME=$FROSTMAP_NODE_BUILD/home
export CGO_ENABLED=0 GO111MODULE=off GOFLAGS='' KUBE_GIT_VERSION_FILE=$FROSTMAP_NODE_BUILD/version
make GOLDFLAGS='-s -w' \
    WHAT='cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kube-proxy'
cp _output/local/bin/linux/amd64/kube* "$bin/"
cd ..
rm -rf "kubernetes-$version" kubernetes_* apt home version # the source and what the compiler left: 5 GB
