#!/bin/bash
# Takes the node away: its processes, which are those in its network, its pods, its mounts and its files.
set -uo pipefail
. "$(dirname "$0")/settings.sh"
at_work() { ip netns pids $namespace 2>/dev/null; }
name_of() { cat "/proc/$1/comm" 2>/dev/null; }
gone_within() { # SECONDS COMMAND...: until it prints nothing
    for _ in $(seq "$1"); do
        [ -z "$("${@:2}")" ] && return
        sleep 1
    done
}

for pid in $(at_work); do # first whoever would start pods again
    [[ $(name_of "$pid") == containerd* ]] || kill "$pid" 2>/dev/null
done
pods_of_it=(ctr --address "$FROSTMAP_NODE/containers/socket" --namespace k8s.io tasks)
"${pods_of_it[@]}" list --quiet | xargs --no-run-if-empty "${pods_of_it[@]}" remove --force
for pid in $(at_work); do kill "$pid" 2>/dev/null; done
gone_within 10 at_work
for pid in $(at_work); do kill -KILL "$pid" 2>/dev/null; done

grep -o " $FROSTMAP_NODE/[^ ]*" /proc/mounts | sort -r | xargs --no-run-if-empty umount
ip netns delete $namespace
ip link delete frostmap-node 2>/dev/null
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null
rm -rf --one-file-system "$FROSTMAP_NODE"
