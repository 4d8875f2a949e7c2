// SPDX-License-Identifier: Apache-2.0

package mtasts

import "strings"

// maxID is the longest policy id (RFC 8461, section 3.1).
const maxID = 32

// RecordID reads the TXT records of _mta-sts.<domain>: exactly one must be an MTA-STS record with an id of 1 to 32
// letters and digits (RFC 8461, section 3.1; R-45). Records that do not begin as one do not count.
func RecordID(records []string) (id string, ok bool) {
	found := 0
	for _, r := range records {
		version, rest, _ := strings.Cut(r, ";")
		if strings.TrimRight(version, " \t") != "v=STSv1" {
			continue
		}
		found++
		id, ok = idOf(rest)
	}
	return id, ok && found == 1
}

// idOf finds the one id among the fields behind the version.
func idOf(fields string) (id string, ok bool) {
	for field := range strings.SplitSeq(fields, ";") {
		name, value, isField := strings.Cut(strings.Trim(field, " \t"), "=")
		if !isField || name != "id" {
			continue
		}
		if ok || !alphanumeric(value) {
			return "", false
		}
		id, ok = value, true
	}
	return id, ok
}

func alphanumeric(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	return strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
