#!/usr/bin/env bash
# Builds the real programs of others that tests and benchmarks run against, from their pinned modules, into the folder $1.
set -euo pipefail
mkdir -p "${1:?folder for the programs}"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
export GOFLAGS=-buildvcs=false

# SPIRE's SQLite driver is written in C; no other part needs a compiler.
[ -x "$out/spire-agent" ] || (
  cd spire
  CGO_ENABLED=1 go build -ldflags "-s -w" -o "$out/" github.com/spiffe/spire/cmd/spire-{server,agent}
)

[ -x "$out/kubectl" ] || (
  cd kubernetes
  version=k8s.io/component-base/version
  flags="-s -w -X $version.gitVersion=v1.37.2 -X $version.gitMajor=1 -X $version.gitMinor=37"
  CGO_ENABLED=0 go build -o "$out/etcd" go.etcd.io/etcd/server/v3
  CGO_ENABLED=0 go build -ldflags "$flags" -o "$out/" k8s.io/kubernetes/cmd/{kube-apiserver,kubectl}
)

[ -x "$out/workload-load" ] || (
  cd ../../perf/load
  CGO_ENABLED=0 go build -ldflags "-s -w" -o "$out/workload-load" .
)

[ -x "$out/go-spiffe-wit" ] || (
  cd gospiffe
  CGO_ENABLED=0 go build -ldflags "-s -w" -o "$out/go-spiffe-wit" .
)

# A control plane of go-control-plane, and the client that measures it and ours.
[ -x "$out/ads-load" ] || (
  cd ../../perf/peers
  CGO_ENABLED=0 go build -ldflags "-s -w" -o "$out/go-control-plane" ./gcp
  CGO_ENABLED=0 go build -ldflags "-s -w" -o "$out/ads-load" ./adsload
)
