#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# start.sh FOLDER QUEUE GROUP: starts the Postfix that install.sh put into FOLDER/postfix, with its queue in QUEUE, in the
# control group GROUP. Called inside the namespaces of a run; what it mounts ends with them.
set -euo pipefail
work=$1 queue=$2 group=$3
for d in usr etc var; do
	mount -t overlay bench -o "lowerdir=/$d,upperdir=$work/postfix/upper/$d,workdir=$work/postfix/scratch/$d" "/$d"
done
rm -f /etc/resolv.conf
echo "nameserver 127.0.0.1" >/etc/resolv.conf
printf '127.0.0.1 localhost relay.bench.test relay\n' >/etc/hosts
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >/etc/nsswitch.conf
cp "$work/main.cf" /etc/postfix/main.cf
# no chroot, as that would need a resolv.conf of its own; SMTP on port 2500 only
sed -E -e '/^smtp +inet/s/^smtp/127.0.0.1:2500/' -e '/^[^# ]/s/^(\S+ +\S+ +\S+ +\S+ +)y /\1n /' \
	/usr/share/postfix/master.cf.dist >/etc/postfix/master.cf
mkdir -p /var/spool/postfix /var/lib/postfix
mount --bind "$queue" /var/spool/postfix
chown postfix /var/lib/postfix
postfix set-permissions >/dev/null 2>&1 || true # complains of documents that are not installed
echo $$ >"$group/cgroup.procs"
unset LD_LIBRARY_PATH
exec postfix start
