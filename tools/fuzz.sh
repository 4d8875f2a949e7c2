#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target of the tree, one after the other, for the time given (default 20s). A finding is kept
# under testdata/fuzz by the go command and ends the run.
set -euo pipefail
time="${1:-20s}"
cd "$(dirname "$0")/.."
found=0
while IFS=: read -r file name; do
	found=$((found + 1))
	echo "== ${file%/*} ${name} (${time})"
	go test -run '^$' -fuzz "^${name}\$" -fuzztime "${time}" "./${file%/*}"
done < <(grep -rhoE --include='*_test.go' -H '^func Fuzz[A-Za-z0-9_]+' proto testkit kit services cmd e2e |
	sed -E 's/^([^:]+):func (Fuzz[A-Za-z0-9_]+)/\1:\2/' | sort)
if [ "$found" -eq 0 ]; then
	echo "no fuzz target found" >&2
	exit 1
fi
echo "${found} fuzz targets ran for ${time} each"
