#!/bin/bash
# Builds the images of the node, as archives: frostmap's own on a plain Debian, and the process that holds a pod together.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
mkdir -p "$images"
cd "$images"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$images/store" --runroot "$images/run")
trap 'rm -rf debian pause "$images/store" "$images/run"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm debian
base=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$base" debian /
buildah "${store[@]}" commit --quiet "$base" localhost/debian:bookworm
rm -rf debian

# the certificates are those of a proxy, where there is one
buildah "${store[@]}" build --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro --build-arg BASE=localhost/debian:bookworm \
    --tag "localhost/frostmap:$tag" --file "$root/deploy/Containerfile" "$root"

gcc -static -Os -o pause "$root/tests/deploy/one_node/pause.c"
holder=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$holder" pause /pause
buildah "${store[@]}" config --entrypoint '["/pause"]' "$holder"
buildah "${store[@]}" commit --quiet "$holder" localhost/pause:1

for name in "frostmap:$tag" pause:1; do
    rm -f "${name%:*}.tar"
    buildah "${store[@]}" push --quiet "localhost/$name" "docker-archive:$images/${name%:*}.tar:localhost/$name"
done
