#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Imports stand-ins for the images that deploy/ takes from a registry, for machines that reach none: the same programs,
# built from Go modules (make stand-ins), with Debian's busybox for the shell and wget. They never carry an official name.
#
#   standins.sh FOLDER     FOLDER holds nats-server, jaeger and busybox
set -euo pipefail
programs="$(cd "$1" && pwd)"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

skeleton() {
	rm -rf "${root:?}"/*
	mkdir -p "$root"/{bin,tmp,data,etc/ssl/certs}
	chmod 1777 "$root/tmp"
	cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
}
busybox() {
	cp "$programs/busybox" "$root/bin/busybox"
	for applet in "$@"; do ln -s busybox "$root/bin/$applet"; done
}
import() { # TAG CHANGE…
	local tag="$1" changes=()
	shift
	for change in "$@"; do changes+=(--change "$change"); done
	tar -C "$root" -c . | docker import "${changes[@]}" - "$tag" >/dev/null
	echo "$tag"
}

skeleton
busybox sh cp mkdir rm cat ls env
mkdir -p "$root/usr/local/go" "$root/root"
for part in bin pkg src lib VERSION go.env; do cp -a "$(go env GOROOT)/$part" "$root/usr/local/go/"; done
import localhost/golang:1.26 'ENV PATH=/usr/local/go/bin:/bin' 'ENV GOTOOLCHAIN=local' 'ENV HOME=/root'

skeleton
busybox sh wget
cp "$programs/nats-server" "$root/bin/nats-server"
import localhost/nats:2.15.2 'ENV PATH=/bin' 'ENTRYPOINT ["/bin/nats-server"]' 'EXPOSE 4222'

skeleton
cp "$programs/jaeger" "$root/bin/jaeger"
import localhost/jaeger:2.13.0 'ENTRYPOINT ["/bin/jaeger"]' 'USER 10001' 'EXPOSE 16686'
