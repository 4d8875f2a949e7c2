// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// DefaultTTL is the TTL in seconds of a record that gives none.
const DefaultTTL = 60

// Zone is what a server knows. It does not change once made.
type Zone struct {
	records map[string][]dns.RR // by lower-case owner name, in the order written
	names   map[string]bool     // every owner and every name above one (RFC 8020)
}

// ParseZone reads records in master-file form (RFC 1035, section 5.1). Names without final dot are absolute all the
// same, TTL and class may be left out. A text without records is a zone in which no name exists.
func ParseZone(text string) (*Zone, error) {
	z := &Zone{records: map[string][]dns.RR{}, names: map[string]bool{".": true}}
	rrs, err := parseRecords(text)
	if err != nil {
		return nil, err
	}
	for _, rr := range rrs {
		owner := dns.CanonicalName(rr.Header().Name)
		z.records[owner] = append(z.records[owner], rr)
		for at, end := 0, false; !end; at, end = dns.NextLabel(owner, at) {
			z.names[owner[at:]] = true
		}
	}
	return z, nil
}

// Parse is ParseZone for a test.
func Parse(tb testing.TB, text string) *Zone {
	tb.Helper()
	z, err := ParseZone(text)
	if err != nil {
		tb.Fatal(err)
	}
	return z
}

// parseRecords reads records; indentation, which has a meaning in master files, is taken off first.
func parseRecords(text string) ([]dns.RR, error) {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	zp := dns.NewZoneParser(strings.NewReader(strings.Join(lines, "\n")+"\n"), ".", "")
	zp.SetDefaultTTL(DefaultTTL)
	var rrs []dns.RR
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rrs = append(rrs, rr)
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	return rrs, nil
}

// mustRecords is parseRecords for text in the source of a test, which is wrong or right once and for all.
func mustRecords(text string) []dns.RR {
	rrs, err := parseRecords(text)
	if err == nil && len(rrs) == 0 {
		err = errors.New("dnstest: no record given")
	}
	if err != nil {
		panic(err)
	}
	return rrs
}
