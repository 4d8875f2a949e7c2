#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# mta.sh FOLDER postfix|exim4 ADDRESS PORT NEXT_PORT NAME
#
# Runs Debian's Postfix or Exim in the foreground, listening on ADDRESS:PORT only, and handing all mail to
# 127.0.0.1:NEXT_PORT. The first call for a FOLDER installs the package into it by apt-get; a package that cannot be had is
# an error.
#
# Both packages claim the same files and want accounts and maintainer scripts, so unpacking does not do. Everything happens
# in a mount and process namespace of its own: /usr, /etc and /var are overlays whose changes lie in FOLDER, and nothing of
# the system is changed. When this script ends, so does all it started. Needs root, overlayfs and Debian.
set -euo pipefail
if [[ $# -ne 6 ]]; then
	echo "usage: $0 FOLDER postfix|exim4 ADDRESS PORT NEXT_PORT NAME" >&2
	exit 2
fi
if [[ -z ${MTA_INSIDE:-} ]]; then
	mkdir -p "$1"
	MTA_INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi
dir="$(cd "$1" && pwd)" mta=$2 address=$3 port=$4 next=$5 name=$6

exec 9>"$dir/lock"
flock 9 # the overlays are for one at a time
rm -rf "$dir"/queue.*

mount --make-rprivate /
for part in usr etc var; do
	mkdir -p "$dir/upper/$part" "$dir/work/$part"
	mount -t overlay "$mta" -o "lowerdir=/$part,upperdir=$dir/upper/$part,workdir=$dir/work/$part" "/$part"
done

if [[ ! -e $dir/installed ]]; then
	package=$mta
	if [[ $mta == exim4 ]]; then package=exim4-daemon-light; fi
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no daemon of the package's own is started
	chmod +x /usr/sbin/policy-rc.d
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q -o Acquire::Retries=3 update
	apt-get -q install -y --no-install-recommends "$package"
	touch "$dir/installed"
fi

queue="$(mktemp -d "$dir/queue.XXXXXX")"
chmod 755 "$queue"
case $mta in
postfix)
	mount --bind "$queue" /var/spool/postfix
	cat >/etc/postfix/main.cf <<-EOF
		compatibility_level = 3.6
		maillog_file = /dev/stdout
		myhostname = $name
		mydestination =
		mynetworks = 127.0.0.0/8
		relayhost = [127.0.0.1]:$next
		inet_interfaces = 127.0.0.1
		inet_protocols = ipv4
		disable_dns_lookups = yes
		smtp_host_lookup = native
		smtpd_peername_lookup = no
		alias_maps =
		alias_database =
		smtpd_tls_security_level = none
		smtp_tls_security_level = none
		queue_directory = /var/spool/postfix
		data_directory = /var/lib/postfix
	EOF
	# No chroot, which would want files of its own, and the one port.
	sed -E -e "/^smtp +inet/s/^smtp/$address:$port/" -e '/^[^# ]/s/^(\S+ +\S+ +\S+ +\S+ +)y /\1n /' \
		/usr/share/postfix/master.cf.dist >/etc/postfix/master.cf
	mkdir -p /var/lib/postfix
	chown postfix /var/lib/postfix
	postfix set-permissions >/dev/null 2>&1 || true
	postfix start-fg
	;;
exim4)
	mount --bind "$queue" /var/spool/exim4
	mkdir -p /var/spool/exim4/{input,msglog,db} /var/log/exim4
	chown -R Debian-exim:Debian-exim /var/spool/exim4 /var/log/exim4
	cat >/etc/exim4/exim4.conf <<-EOF
		primary_hostname = $name
		local_interfaces = $address
		daemon_smtp_ports = $port
		disable_ipv6 = true
		acl_smtp_rcpt = rcpt
		host_lookup =
		rfc1413_query_timeout = 0s
		tls_advertise_hosts =
		begin acl
		rcpt:
		  accept
		begin routers
		all:
		  driver = manualroute
		  route_list = * 127.0.0.1::$next byname
		  transport = out
		  self = send
		begin transports
		out:
		  driver = smtp
		  hosts_avoid_tls = *
		  allow_localhost = true
		begin retry
		* * F,1h,1m
	EOF
	tail -F /var/log/exim4/mainlog 2>/dev/null &
	exim4 -bdf -q1m
	;;
*)
	echo "$0: no such mail system: $mta" >&2
	exit 2
	;;
esac
