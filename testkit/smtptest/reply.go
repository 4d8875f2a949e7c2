// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"fmt"
	"strings"
)

// Reply writes a reply of one or more lines with CRLF (RFC 5321, section 4.2.1). Without text the line has the code
// alone.
func Reply(code int, text ...string) string {
	if len(text) == 0 {
		return fmt.Sprintf("%03d\r\n", code)
	}
	var b strings.Builder
	for i, line := range text {
		sep := "-"
		if i == len(text)-1 {
			sep = " "
		}
		fmt.Fprintf(&b, "%03d%s%s\r\n", code, sep, line)
	}
	return b.String()
}
