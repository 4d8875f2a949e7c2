#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpacks Debian's Postfix, Exim and OpenSMTPD, and the libraries they need that the system lacks, into a folder each
# below the folder given. Nothing is installed: no maintainer script runs, no daemon is started, no account is made, and
# nothing outside of the folder is written. A second call finds them and does nothing. Any package that cannot be had is
# an error.
set -euo pipefail

if [[ $# -ne 1 ]]; then
	echo "usage: $0 FOLDER" >&2
	exit 2
fi
mkdir -p "$1"
dir="$(cd "$1" && pwd)"

exec 9>"$dir/lock"
flock 9 # two test runs may share the folder

if [[ -e $dir/unpacked ]]; then
	exit 0
fi
for tool in apt-get dpkg; do
	command -v "$tool" >/dev/null || { echo "$tool is missing: this test needs Debian" >&2; exit 1; }
done
mkdir -p "$dir/apt/lists/partial"

# Lists and archives of our own; the system's are only read, and its locks are not needed.
options=(-q -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt" -o Debug::NoLocking=1
	-o APT::Update::Error-Mode=any -o APT::Sandbox::User= -o Acquire::Retries=3)
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then # Debian's own archive will do
	options+=(-o Dir::Etc::SourceList=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::SourceParts=/dev/null)
fi
apt-get "${options[@]}" update
for package in postfix exim4-daemon-light opensmtpd; do # one at a time, since each is in the way of the others
	name="${package%%4*}"
	rm -rf "${dir:?}/$name" "$dir/apt/archives"
	mkdir -p "$dir/$name" "$dir/apt/archives/partial"
	apt-get "${options[@]}" -o "Dir::Cache::archives=$dir/apt/archives" \
		install --download-only --reinstall -y --no-install-recommends "$package"
	for file in "$dir"/apt/archives/*.deb; do
		dpkg -x "$file" "$dir/$name"
	done
	if [[ -d $dir/$name/lib ]]; then # /lib is a link to /usr/lib on the system itself
		mkdir -p "$dir/$name/usr/lib"
		cp -a "$dir/$name/lib/." "$dir/$name/usr/lib/"
	fi
done
rm -rf "$dir/apt"
touch "$dir/unpacked"
