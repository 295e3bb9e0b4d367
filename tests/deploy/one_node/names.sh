#!/bin/bash
# Keeps a file of the services' names and addresses, which dnsmasq answers the pods from.
set -uo pipefail
. "$(dirname "$0")/settings.sh"
line='{{range .items}}{{.spec.clusterIP}} {{.metadata.name}}.{{.metadata.namespace}}.svc.cluster.local{{"\n"}}{{end}}'
while sleep 1; do # a watch ends after an hour at most
    kubectl get services --all-namespaces --watch --output name | while read -r _; do
        kubectl get services --all-namespaces --output go-template="$line" >"$FROSTMAP_NODE/names.draft" &&
            mv "$FROSTMAP_NODE/names.draft" "$FROSTMAP_NODE/names/hosts"
    done
done
