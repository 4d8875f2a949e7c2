#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# enter.sh UNPACKED STATE PROGRAM [ARGUMENT...]: runs a program of an unpacked package as if it were installed. Called as
# root in mount and process namespaces of its own, whose end is the end of all it starts. /usr, /etc and /var are the
# system's with the package's on top, and changes to them go to memory; STATE/etc lies over /etc, and mail is delivered
# to STATE/mail, logs are in STATE/log.
set -euo pipefail
unpacked=$1 state=$2
shift 2

mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs interop "$state/scratch"
for d in usr etc var; do
	mkdir -p "$state/scratch/upper/$d" "$state/scratch/work/$d" "$unpacked/$d"
done
cp -a "$state/etc/." "$state/scratch/upper/etc/"
{ # the accounts that the packages' install scripts would make
	cat /etc/passwd
	echo "postfix:x:7001:7001::/var/spool/postfix:/usr/sbin/nologin"
	echo "Debian-exim:x:7002:7002::/var/spool/exim4:/usr/sbin/nologin"
	echo "opensmtpd:x:7003:7003::/var/lib/opensmtpd/empty:/usr/sbin/nologin"
	echo "opensmtpq:x:7004:7004::/var/lib/opensmtpd/empty:/usr/sbin/nologin"
} >"$state/scratch/passwd"
{
	cat /etc/group
	printf '%s:x:%s:\n' postfix 7001 postdrop 7005 Debian-exim 7002 opensmtpd 7003 opensmtpq 7004
} >"$state/scratch/group"
cp "$state/scratch/passwd" "$state/scratch/group" "$state/scratch/upper/etc/"
for d in usr etc var; do
	mount -t overlay interop -o "lowerdir=$unpacked/$d:/$d,upperdir=$state/scratch/upper/$d,workdir=$state/scratch/work/$d" "/$d"
done
ldconfig
mkdir -p /var/mail /var/lib/postfix /var/spool/exim4 /var/spool/smtpd /var/lib/opensmtpd/empty
chown postfix /var/lib/postfix
chown -R Debian-exim:Debian-exim /var/spool/exim4
chmod 711 /var/spool/smtpd
mkdir -p /var/log/host "$state/mail" "$state/log"
chown mail:mail "$state/mail"
chmod 1777 "$state/log"
mount --bind "$state/mail" /var/mail
mount --bind "$state/log" /var/log/host
exec "$@"
