#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks Debian's swaks, smtp-source (from postfix), ripmime and python3, with the Perl modules swaks needs, into the
# folder given, and puts programs that run there into its bin/. Nothing is installed: no maintainer script runs and nothing
# outside of the folder is written. A second call finds the programs and does nothing.
set -euo pipefail

if [[ $# -ne 1 ]]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
packages=(swaks libnet-ssleay-perl libauthen-sasl-perl postfix ripmime python3-minimal libpython3.11-minimal
	libpython3.11-stdlib python3.11-minimal libnsl2 libtirpc3 libicu72 libdb5.3)

exec 9>"$dir/lock"
flock 9 # two test runs may share the folder

works() {
	"$dir/bin/swaks" --support | grep -qF "TLS supported" && [[ "$("$dir/bin/smtp-source" 2>&1)" == *usage* ]] &&
		"$dir/bin/ripmime" --version && "$dir/bin/python3" -c 'import email.policy, email'
} >/dev/null 2>&1
if works; then
	exit 0
fi
for tool in apt-get dpkg perl; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: this test needs Debian" >&2; exit 1; }
done
rm -rf "$dir/root" "$dir/bin" "$dir/debs" "$dir/lists"
mkdir -p "$dir/root" "$dir/bin" "$dir/debs" "$dir/lists/partial"

options=(-q -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/lists" -o Debug::NoLocking=1
	-o APT::Update::Error-Mode=any -o APT::Sandbox::User= -o Acquire::Retries=3)
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then # Debian's own archive will do
	options+=(-o Dir::Etc::SourceList=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::SourceParts=/dev/null)
fi
apt-get "${options[@]}" update
(cd "$dir/debs" && apt-get "${options[@]}" download "${packages[@]}")
for package in "$dir"/debs/*.deb; do
	dpkg -x "$package" "$dir/root"
done
libraries="$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:):$dir/root/usr/lib/postfix"
perl="$dir/root/usr/share/perl5:$(echo "$dir"/root/usr/lib/*/perl5/*):$(echo "$dir"/root/usr/lib/*/perl5)"
wrap() { # NAME VARIABLE=VALUE COMMAND...
	local name=$1 setting=$2
	shift 2
	printf '#!/bin/sh\n%s exec %s "$@"\n' "$setting" "$*" >"$dir/bin/$name"
	chmod +x "$dir/bin/$name"
}
wrap swaks "PERL5LIB=$perl" perl "$dir/root/usr/bin/swaks"
wrap smtp-source "LD_LIBRARY_PATH=$libraries" "$dir/root/usr/sbin/smtp-source"
wrap ripmime "LD_LIBRARY_PATH=$libraries" "$dir/root/usr/bin/ripmime"
wrap python3 "PYTHONHOME=$dir/root/usr" "$dir/root/usr/bin/python3.11"
rm -rf "$dir/debs" "$dir/lists"
if ! works; then
	echo "unpacked, but not every program runs:" >&2
	"$dir/bin/swaks" --version >&2 || true
	"$dir/bin/smtp-source" 2>&1 | head -3 >&2 || true
	"$dir/bin/ripmime" --version >&2 || true
	"$dir/bin/python3" -c 'import email.policy, email' >&2 || true
	exit 1
fi
