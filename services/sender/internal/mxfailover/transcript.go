// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// tellTranscript adds the lines of a failed session to the span of its host, one event each. Hosts name people in their
// replies; in a span nobody is named.
func tellTranscript(span trace.Span, lines []string, m *smtpclient.Message) {
	if len(lines) == 0 || !span.IsRecording() {
		return
	}
	hide := anonymiser(m)
	for _, line := range lines {
		span.AddEvent("smtp.transcript", trace.WithAttributes(attribute.String("smtp.transcript.line", hide(line))))
	}
}

// localPart is what stands before an @ in running text.
var localPart = regexp.MustCompile(`(?:"[^"]*"|[^\s<>"'(),;:\[\]=]+)@`)

// anonymiser takes the local parts out of all addresses, and those of the message's own addresses out of all else too.
func anonymiser(m *smtpclient.Message) func(string) string {
	own := make([]string, 0, len(m.Recipients)+1)
	add := func(address string) {
		if at := strings.LastIndexByte(address, '@'); at > 0 {
			own = append(own, regexp.QuoteMeta(strings.Trim(address[:at], `"`)))
		}
	}
	add(m.From)
	for _, r := range m.Recipients {
		add(r.Address)
	}
	var names *regexp.Regexp
	if len(own) > 0 {
		names = regexp.MustCompile(`(?i)(^|[^\pL\pN])(?:` + strings.Join(own, "|") + `)($|[^\pL\pN])`)
	}
	return func(line string) string {
		line = localPart.ReplaceAllString(line, "…@")
		who, said, found := strings.Cut(line, ": ")
		if !found || who == "C" || names == nil { // commands are redacted already
			return line
		}
		return who + ": " + names.ReplaceAllString(said, "${1}…${2}")
	}
}
