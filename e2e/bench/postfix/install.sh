#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# install.sh FOLDER tools|postfix: unpacks smtp-source and smtp-sink into FOLDER/tools, and with postfix installs
# Debian's Postfix into an overlay of its own in FOLDER/postfix, seen by nobody but who mounts it. The system's own
# files stay as they are. A second call finds what is there.
set -euo pipefail
work=$1 what=$2
mkdir -p "$work"
exec 9>"$work/install.lock"
flock 9
export DEBIAN_FRONTEND=noninteractive

if [ ! -x "$work/tools/usr/sbin/smtp-sink" ]; then
	mkdir -p "$work/tools"
	cd "$work/tools"
	apt-get update -qq
	apt-get download -qq postfix
	dpkg -x postfix_*.deb .
	rm -f postfix_*.deb
fi
if [ "$what" = postfix ] && [ ! -e "$work/postfix/installed" ]; then
	rm -rf "$work/postfix"
	mkdir -p "$work/postfix"
	unshare -m bash -euo pipefail -c '
		mount --make-rprivate /
		for d in usr etc var; do
			mkdir -p "$0/upper/$d" "$0/scratch/$d"
			mount -t overlay bench -o "lowerdir=/$d,upperdir=$0/upper/$d,workdir=$0/scratch/$d" "/$d"
		done
		printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d # nothing is started
		chmod +x /usr/sbin/policy-rc.d
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends postfix
	' "$work/postfix"
	touch "$work/postfix/installed"
fi
