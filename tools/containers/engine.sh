#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs COMMAND with a Docker engine: the one that runs already, or one started for it and stopped afterwards, whatever
# becomes of COMMAND. The engine's programs come from Debian (unpack.sh); its data lies in .data/engine of this tree, so
# that a second build is quick, and nothing of it is left running. It needs root.
#
#   engine.sh COMMAND…
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"

if docker version >/dev/null 2>&1; then
	exec "$@"
fi
if [[ $(id -u) -ne 0 ]]; then
	echo "no Docker engine answers, and starting one needs root" >&2
	exit 1
fi
"$here/unpack.sh" "$root/bin/debian" >/dev/null
export PATH="$root/bin/debian/bin:$PATH"

run="$(mktemp -d /tmp/postrider-engine.XXXXXX)" # a socket's path is short
data="$root/.data/engine"
mkdir -p "$data"
exec 7>"$data.lock"
flock -n 7 || { echo "another run uses $data" >&2; exit 1; }

stop() {
	trap - EXIT
	trap '' INT TERM # a second signal must not leave the engine behind
	if [[ -n ${command_pid:-} ]] && kill -0 "$command_pid" 2>/dev/null; then
		kill -TERM -- "-$command_pid" 2>/dev/null || true
		wait "$command_pid" 2>/dev/null || true
	fi
	if [[ -n ${engine_pid:-} ]]; then
		kill -TERM "$engine_pid" 2>/dev/null || true
		for _ in $(seq 300); do kill -0 "$engine_pid" 2>/dev/null || break; sleep 0.1; done
		kill -KILL "$engine_pid" 2>/dev/null || true
		wait "$engine_pid" 2>/dev/null || true
	fi
	cp "$run/log" "$root/.data/engine.log" 2>/dev/null || true
	rm -rf "$run"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export DOCKER_HOST="unix://$run/docker.sock"
setsid setpriv --pdeathsig TERM dockerd --data-root "$data" --exec-root "$run/exec" --pidfile "$run/pid" --host "$DOCKER_HOST" --live-restore=false \
	--default-address-pool base=10.213.0.0/16,size=24 --bip 10.214.0.1/24 >"$run/log" 2>&1 7>&- &
engine_pid=$!
for _ in $(seq 600); do
	docker version >/dev/null 2>&1 && break
	kill -0 "$engine_pid" 2>/dev/null || break
	sleep 0.1
done
if ! docker version >/dev/null 2>&1; then
	echo "the Docker engine does not answer; its log ends with:" >&2
	tail -20 "$run/log" >&2
	exit 1
fi
setsid "$@" 7>&- & # a group of its own, so that all of it can be ended
command_pid=$!
wait "$command_pid"
