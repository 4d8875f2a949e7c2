#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks Debian's unbound, nsd and ldnsutils, and the libraries they need that the system lacks, into the folder given,
# and puts programs that run there into its bin/. Nothing is installed: no maintainer script runs, no daemon is started,
# no account is made, and nothing outside of the folder is written, so it needs no root.
#
# A second call finds the programs and does nothing. Any package that cannot be had is an error.
set -euo pipefail

if [[ $# -ne 1 ]]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
packages=(unbound nsd ldnsutils)

exec 9>"$dir/lock"
flock 9 # two test runs may share the folder

# works fails when a program is missing or does not find its libraries.
works() {
	"$dir/bin/unbound" -V && "$dir/bin/nsd" -v && "$dir/bin/drill" -v &&
		"$dir/bin/ldns-keygen" -v && "$dir/bin/ldns-signzone" -v
} >/dev/null 2>&1

if works; then
	exit 0
fi

for tool in apt-get dpkg; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: this test needs Debian" >&2; exit 1; }
done
rm -rf "$dir/root" "$dir/bin" "$dir/apt"
mkdir -p "$dir/root" "$dir/bin" "$dir/apt/lists/partial" "$dir/apt/archives/partial"

# Lists and archives of our own; the system's are only read, and its locks are not needed.
options=(-q -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt" -o "Dir::Cache::archives=$dir/apt/archives"
	-o Debug::NoLocking=1 -o APT::Update::Error-Mode=any -o APT::Sandbox::User= -o Acquire::Retries=3)
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then # Debian's own archive will do
	options+=(-o Dir::Etc::SourceList=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::SourceParts=/dev/null)
fi
apt-get "${options[@]}" update
apt-get "${options[@]}" install --download-only --reinstall -y --no-install-recommends "${packages[@]}"
for package in "$dir"/apt/archives/*.deb; do
	dpkg -x "$package" "$dir/root"
done

libraries="$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)"
for program in usr/sbin/unbound usr/sbin/nsd usr/bin/drill usr/bin/ldns-keygen usr/bin/ldns-signzone; do
	if [[ ! -x "$dir/root/$program" ]]; then
		echo "no $program in: ${packages[*]}" >&2
		exit 1
	fi
	wrapper="$dir/bin/$(basename "$program")"
	printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$dir/root/$program" >"$wrapper"
	chmod +x "$wrapper"
done
rm -rf "$dir/apt"
if ! works; then
	echo "unpacked, but not every program runs:" >&2
	ldd "$dir/root/usr/sbin/unbound" "$dir/root/usr/sbin/nsd" >&2
	exit 1
fi
