#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The body of `make e2e-containers`: stand-ins for the images that cannot be pulled, our own images, and the tests of
# e2e/containers under a project name of their own. What was started is taken down, whatever happened.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export COMPOSE_PROJECT_NAME=postrider-e2e POSTRIDER_CONFIG=demo POSTRIDER_PORT=0 JAEGER_PORT=0
export GO_IMAGE=localhost/golang:1.26 NATS_IMAGE=localhost/nats:2.15.2 JAEGER_IMAGE=localhost/jaeger:2.13.0
project=($COMPOSE --progress quiet -f deploy/compose.yaml --profile client --profile demo)

down() { "${project[@]}" down --volumes --remove-orphans --timeout 10 >/dev/null 2>&1 || true; }
trap down EXIT
trap 'exit 143' INT TERM # otherwise the trap above is not run

for image in "$GO_IMAGE" "$NATS_IMAGE" "$JAEGER_IMAGE"; do
	docker image inspect "$image" >/dev/null 2>&1 || { tools/containers/standins.sh bin/standin; break; }
done
deploy/secrets.sh
begin=$SECONDS
# Images are made of programs compiled here, or with BINARIES=compiled by the Dockerfile itself, which takes longer.
export BINARIES="${BINARIES:-copied}"
[[ $BINARIES == compiled ]] || make container-programs
make "$PWD/bin/postrider" >/dev/null
"${project[@]}" build
echo "images built in $((SECONDS - begin)) s (BINARIES=$BINARIES)"
down # what an earlier run that was killed may have left
POSTRIDER_BIN=$PWD/bin timeout --foreground --kill-after=30 420 go test -tags containers -count=1 -timeout 400s -v ./e2e/containers/
