#!/bin/sh
# A filter of OpenSMTPD (smtpd-filters(7)): the first RCPT to grey@ is put off, everything else goes on.
while IFS='|' read -r kind version time subsystem event session token address; do
	if [ "$kind" = config ] && [ "$version" = ready ]; then
		echo "register|filter|smtp-in|rcpt-to"
		echo "register|ready"
	elif [ "$kind" = filter ]; then
		answer=proceed
		case "$address" in
		grey@*)
			[ -n "$seen" ] || answer="reject|451 4.7.1 greylisted, come back later"
			seen=1
			;;
		esac
		echo "filter-result|$session|$token|$answer"
	fi
done
