#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks Debian's postfix, and the libraries it needs that the system lacks, into the folder given, and puts smtp-source
# and smtp-sink that run there into its bin/. Nothing is installed: no maintainer script runs, no daemon is started, and
# nothing outside of the folder is written. A second call finds the programs and does nothing.
set -euo pipefail

if [[ $# -ne 1 ]]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
exec 9>"$dir/lock"
flock 9

# works fails when a program is missing or does not find its libraries: without arguments both print their usage.
works() {
	for program in smtp-source smtp-sink; do
		[[ -x "$dir/bin/$program" ]] || return 1
		{ "$dir/bin/$program" 2>&1 || true; } | grep -q usage: || return 1
	done
}
if works; then
	exit 0
fi
for tool in apt-get dpkg; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: this needs Debian" >&2; exit 1; }
done
rm -rf "$dir/root" "$dir/bin" "$dir/apt"
mkdir -p "$dir/root" "$dir/bin" "$dir/apt/lists/partial" "$dir/apt/archives/partial"
options=(-q -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt" -o "Dir::Cache::archives=$dir/apt/archives"
	-o Debug::NoLocking=1 -o APT::Update::Error-Mode=any -o APT::Sandbox::User= -o Acquire::Retries=3)
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then # Debian's own archive will do
	options+=(-o Dir::Etc::SourceList=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::SourceParts=/dev/null)
fi
apt-get "${options[@]}" update
apt-get "${options[@]}" install --download-only --reinstall -y --no-install-recommends postfix
for package in "$dir"/apt/archives/*.deb; do
	dpkg -x "$package" "$dir/root"
done
libraries="$(find "$dir/root" \( -name '*.so.*' -o -name 'libpostfix-*.so' \) -printf '%h\n' | sort -u | paste -sd:)"
for program in smtp-source smtp-sink; do
	wrapper="$dir/bin/$program"
	printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$dir/root/usr/sbin/$program" >"$wrapper"
	chmod +x "$wrapper"
done
rm -rf "$dir/apt"
if ! works; then
	echo "unpacked, but not every program runs:" >&2
	ldd "$dir/root/usr/sbin/smtp-source" "$dir/root/usr/sbin/smtp-sink" >&2
	exit 1
fi
