#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the tokens and the key that deploy/compose.yaml hands to the containers, in deploy/secrets. What is there already
# is kept; --new makes all of it anew. Nothing of it belongs into version control.
#
#   ops_token     for you: submit, and everything operators may do
#   sender_token  the sender's, for the resolver
#   dsn_token     the dsn service's, for the gateway
#   tokens.yaml   who may do what: the SHA-256 of each token, never the token itself
#   relay_password  the password of your smarthost; write yours into it (sender.destinations)
#   trace_key     the key that Postrider-Trace header fields are sealed with
set -euo pipefail
dir="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets"

# Containers read the files as another user; the folder is what keeps the other users of this machine out.
install -d -m 0700 "$dir"
umask 022
case "${1:-}" in
--new) rm -f "$dir"/{ops_token,sender_token,dsn_token,tokens.yaml,trace_key,relay_password} ;;
"") ;;
*) echo "usage: $0 [--new]" >&2; exit 2 ;;
esac

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
made=()
for name in ops_token sender_token dsn_token trace_key relay_password; do
	if [[ ! -s $dir/$name ]]; then
		random >"$dir/$name"
		made+=("$name")
	fi
done
entry() { # NAME FILE RIGHTS
	printf -- '- name: %s\n  sha256: %s\n  rights: [%s]\n' "$1" "$(sha256sum <"$dir/$2" | cut -d' ' -f1)" "$3"
}
if [[ ! -s $dir/tokens.yaml || " ${made[*]} " == *_token\ * ]]; then
	{
		entry ops ops_token "submit, operator"
		entry sender sender_token ""
		entry dsn dsn_token "submit, null_sender"
	} >"$dir/tokens.yaml"
	made+=(tokens.yaml)
fi
[[ ${#made[@]} -eq 0 ]] || echo "made in deploy/secrets: ${made[*]}"
