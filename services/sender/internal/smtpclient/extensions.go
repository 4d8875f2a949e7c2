// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"math"
	"strconv"
	"strings"
)

// Extensions is what a host offered in its last reply to EHLO (RFC 5321, section 4.1.1.1). Keywords this package does
// not use are ignored. The zero value offers nothing, as after HELO.
type Extensions struct {
	// StartTLS is RFC 3207.
	StartTLS bool
	// Pipelining is RFC 2920.
	Pipelining bool
	// EightBitMIME is RFC 6152.
	EightBitMIME bool
	// SMTPUTF8 is RFC 6531.
	SMTPUTF8 bool
	// DSN is RFC 3461.
	DSN bool
	// RequireTLS is RFC 8689.
	RequireTLS bool
	// EnhancedStatusCodes is RFC 2034.
	EnhancedStatusCodes bool
	// Size is SIZE (RFC 1870).
	Size bool
	// MaxSize is the largest message the host takes, in octets as SIZE= counts them; 0: not limited or not told.
	MaxSize int64
	// MaxRecipients is RCPTMAX and MaxMessages MAILMAX of LIMITS (RFC 9422); 0: not told.
	MaxRecipients, MaxMessages int
	// Auth lists the mechanisms of AUTH (RFC 4954) in upper case.
	Auth []string
}

// parseExtensions reads the texts of a positive reply to EHLO; the first line holds the host's name and is no keyword.
// Case does not matter, and whatever is malformed is as if it were not there (S-25).
func parseExtensions(texts []string) Extensions {
	var e Extensions
	for i, text := range texts {
		if i == 0 {
			continue
		}
		keyword, params, _ := strings.Cut(strings.TrimRight(text, " \t"), " ")
		e.add(strings.ToUpper(keyword), params)
	}
	return e
}

func (e *Extensions) add(keyword, params string) {
	switch keyword {
	case "STARTTLS":
		e.StartTLS = true
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBitMIME = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "DSN":
		e.DSN = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "ENHANCEDSTATUSCODES":
		e.EnhancedStatusCodes = true
	case "SIZE":
		e.Size = true
		e.MaxSize = parseSize(params)
	case "LIMITS":
		e.addLimits(params)
	case "AUTH":
		e.addAuth(params)
	default:
		if rest, old := strings.CutPrefix(keyword, "AUTH="); old {
			e.addAuth(rest + " " + params)
		}
	}
}

// parseSize reads the number behind SIZE. One that overflows or cannot be read limits nothing (S-45).
func parseSize(params string) int64 {
	number, _, _ := strings.Cut(strings.TrimLeft(params, " \t"), " ")
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0
	}
	return int64(n)
}

// addLimits reads LIMITS (RFC 9422, section 4). A limit that is no number from 1 up does not count.
func (e *Extensions) addLimits(params string) {
	for limit := range strings.FieldsSeq(params) {
		name, value, _ := strings.Cut(limit, "=")
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 || n > math.MaxInt32 {
			continue
		}
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			e.MaxRecipients = int(n)
		case "MAILMAX":
			e.MaxMessages = int(n)
		}
	}
}

// addAuth notes mechanisms; the form AUTH= of old hosts is read too. Nothing but a configured smarthost makes this
// client authenticate.
func (e *Extensions) addAuth(params string) {
	for mechanism := range strings.FieldsSeq(strings.ToUpper(params)) {
		if len(e.Auth) < 32 {
			e.Auth = append(e.Auth, mechanism)
		}
	}
}
