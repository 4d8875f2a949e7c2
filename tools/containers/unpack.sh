#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks Debian's docker.io with all it needs, and what the stand-in images are made of (debootstrap, busybox-static),
# into the folder given, and puts programs that run there into its bin/. Nothing is installed: no maintainer script runs,
# no daemon is started and nothing outside of the folder is written. A second call finds the programs and does nothing.
# Any package that cannot be had is an error.
set -euo pipefail

if [[ $# -ne 1 ]]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
packages=(docker.io containerd runc iptables debootstrap busybox-static ca-certificates)
programs=(usr/sbin/dockerd usr/bin/docker usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/sbin/runc
	usr/sbin/iptables usr/sbin/ip6tables usr/sbin/docker-proxy usr/bin/busybox)

exec 9>"$dir/lock"
flock 9 # two runs may share the folder

works() {
	"$dir/bin/dockerd" --version && "$dir/bin/docker" --version && "$dir/bin/containerd" --version &&
		"$dir/bin/runc" --version && "$dir/bin/iptables" --version && "$dir/bin/busybox" true &&
		[[ -x $dir/bin/debootstrap ]]
} >/dev/null 2>&1

if works; then
	exit 0
fi

for tool in apt-get dpkg; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: this needs Debian" >&2; exit 1; }
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
extensions="$(find "$dir/root" -type d -name xtables | head -1)"
for program in "${programs[@]}"; do
	if [[ $program == */ip*tables ]]; then
		program=usr/sbin/$(basename "$program")-legacy # which of the two is the system's is chosen by an install script
	fi
	if [[ ! -x "$dir/root/$program" ]]; then
		found="$(find "$dir/root" -name "$(basename "$program")" -type f -perm -u+x | head -1)"
		[[ -n $found ]] || { echo "no $program in: ${packages[*]}" >&2; exit 1; }
		program="${found#"$dir/root/"}"
	fi
	name="$(basename "$program")"
	wrapper="$dir/bin/${name%-legacy}"
	printf '#!/bin/sh\nLD_LIBRARY_PATH=%q XTABLES_LIBDIR=%q exec %q "$@"\n' "$libraries" "$extensions" "$dir/root/$program" >"$wrapper"
	chmod +x "$wrapper"
done
printf '#!/bin/sh\nDEBOOTSTRAP_DIR=%q exec %q "$@"\n' "$dir/root/usr/share/debootstrap" "$dir/root/usr/sbin/debootstrap" >"$dir/bin/debootstrap"
chmod +x "$dir/bin/debootstrap"
rm -rf "$dir/apt"
if ! works; then
	echo "unpacked, but not every program runs:" >&2
	ldd "$dir/root/usr/sbin/dockerd" >&2
	exit 1
fi
