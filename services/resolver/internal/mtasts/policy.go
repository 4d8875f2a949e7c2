// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
)

// Mode is what a policy asks for (RFC 8461, section 5).
type Mode string

// The modes.
const (
	// Enforce forbids hosts that do not match or do not verify.
	Enforce Mode = "enforce"
	// Testing asks only that failures be noted.
	Testing Mode = "testing"
	// None says that there is no policy any more.
	None Mode = "none"
)

// Bounds of a policy file.
const (
	// MaxSize is the most octets read (RFC 8461, section 3.3).
	MaxSize = 64 << 10
	// maxAge caps max_age: about a year (RFC 8461, section 3.2).
	maxAge = 31_557_600 * time.Second
	// maxPatterns bounds the mx fields.
	maxPatterns = 1000
)

// Policy is a policy file (RFC 8461, section 3.2).
type Policy struct {
	// Mode is what it asks for.
	Mode Mode `json:"mode"`
	// MX are the patterns of allowed hosts, in lower case: names, or "*." and a name.
	MX []string `json:"mx,omitempty"`
	// MaxAge is how long it stays in force, at most about a year.
	MaxAge time.Duration `json:"max_age"`
}

// Parse reads a policy file. Lines end in LF or CRLF; unknown fields are passed over; of a field given twice the first
// counts, but for mx (RFC 8461, section 3.2).
func Parse(text string) (Policy, error) {
	var p Policy
	var version, mode, age string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.Trim(line, " \t") == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return Policy{}, fmt.Errorf("line without a colon: %.40q", line)
		}
		value = strings.Trim(value, " \t")
		switch name {
		case "version":
			version = firstOf(version, value)
		case "mode":
			mode = firstOf(mode, value)
		case "max_age":
			age = firstOf(age, value)
		case "mx":
			if err := p.addMX(value); err != nil {
				return Policy{}, err
			}
		}
	}
	if version != "STSv1" {
		return Policy{}, fmt.Errorf("version is %.40q, not STSv1", version)
	}
	switch p.Mode = Mode(mode); p.Mode {
	case Enforce, Testing, None:
	default:
		return Policy{}, fmt.Errorf("mode is %.40q", mode)
	}
	if p.Mode != None && len(p.MX) == 0 {
		return Policy{}, fmt.Errorf("mode %s without mx", mode)
	}
	return p, p.setAge(age)
}

func firstOf(had, value string) string {
	if had != "" {
		return had
	}
	return value
}

func (p *Policy) addMX(value string) error {
	pattern := strings.ToLower(value)
	if err := mailaddr.CheckHost(strings.TrimPrefix(pattern, "*.")); err != nil {
		return fmt.Errorf("mx %.80q: %w", value, err)
	}
	if len(p.MX) == maxPatterns {
		return fmt.Errorf("more than %d mx", maxPatterns)
	}
	p.MX = append(p.MX, pattern)
	return nil
}

func (p *Policy) setAge(text string) error {
	if text == "" || len(text) > 10 || strings.Trim(text, "0123456789") != "" {
		return fmt.Errorf("max_age is %.40q, not one to ten digits", text)
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("max_age: %w", err)
	}
	p.MaxAge = time.Duration(min(seconds, int64(maxAge/time.Second))) * time.Second
	return nil
}

// Allows reports that the policy names a host, which is in lower case. "*" stands for exactly one label, the left-most
// (RFC 8461, section 4.1).
func (p *Policy) Allows(host string) bool {
	_, parent, dotted := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		if rest, wild := strings.CutPrefix(pattern, "*."); wild && dotted && rest == parent || pattern == host {
			return true
		}
	}
	return false
}
