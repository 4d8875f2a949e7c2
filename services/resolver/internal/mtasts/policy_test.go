// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestR45_Record(t *testing.T) {
	id32 := strings.Repeat("a", 32)
	for _, c := range []struct {
		name    string
		records []string
		id      string
		ok      bool
	}{
		{"plain", []string{"v=STSv1; id=20240101T000000;"}, "20240101T000000", true},
		{"no final semicolon", []string{"v=STSv1;id=1"}, "1", true},
		{"spaces", []string{"v=STSv1 ;\t id=1 ; "}, "1", true},
		{"longest id", []string{"v=STSv1; id=" + id32}, id32, true},
		{"further fields", []string{"v=STSv1; ext=a=b; id=1; other=x;"}, "1", true},
		{"beside other records", []string{"v=spf1 -all", "v=STSv1; id=1;", "hello"}, "1", true},
		{"beside a record that only begins alike", []string{"v=STSv10; id=2;", "v=STSv1; id=1;"}, "1", true},
		{"none", nil, "", false},
		{"only others", []string{"v=spf1 -all"}, "", false},
		{"two", []string{"v=STSv1; id=1;", "v=STSv1; id=2;"}, "", false},
		{"two alike", []string{"v=STSv1; id=1;", "v=STSv1; id=1;"}, "", false},
		{"a bad one beside", []string{"v=STSv1;", "v=STSv1; id=1;"}, "", false},
		{"without id", []string{"v=STSv1;"}, "", false},
		{"empty id", []string{"v=STSv1; id=;"}, "", false},
		{"id too long", []string{"v=STSv1; id=" + id32 + "a"}, "", false},
		{"id with a hyphen", []string{"v=STSv1; id=2024-01-01"}, "", false},
		{"id twice", []string{"v=STSv1; id=1; id=2"}, "", false},
		{"another version", []string{"v=STSv2; id=1"}, "", false},
		{"lower case version", []string{"v=stsv1; id=1"}, "", false},
		{"version not first", []string{"id=1; v=STSv1"}, "", false},
		{"leading space", []string{" v=STSv1; id=1"}, "", false},
	} {
		if id, ok := RecordID(c.records); ok != c.ok || ok && id != c.id {
			t.Errorf("%s: %q, %t, want %q, %t", c.name, id, ok, c.id, c.ok)
		}
	}
}

const goodPolicy = "version: STSv1\nmode: enforce\nmx: mail.example.test\nmx: *.example.net\nmax_age: 604800\n"

func TestR46_PolicyFile(t *testing.T) {
	for _, text := range []string{
		goodPolicy,
		strings.ReplaceAll(goodPolicy, "\n", "\r\n"),
		strings.TrimSuffix(goodPolicy, "\n"),
		"\n" + goodPolicy + "\n\r\n",
		goodPolicy + "unknown: value\nmode: none\nmax_age: 1\n",
		"max_age:604800\nmx:\tMAIL.example.test \nmx:*.EXAMPLE.net\nmode:enforce\nversion:STSv1",
	} {
		p, err := Parse(text)
		if err != nil || p.Mode != Enforce || p.MaxAge != 7*24*time.Hour || !slices.Equal(p.MX, []string{"mail.example.test", "*.example.net"}) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
	for name, text := range map[string]string{
		"empty":          "",
		"HTML":           "<!DOCTYPE html>\n<html>",
		"no version":     "mode: enforce\nmx: a.test\nmax_age: 1\n",
		"version 2":      "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1\n",
		"no mode":        "version: STSv1\nmx: a.test\nmax_age: 1\n",
		"unknown mode":   "version: STSv1\nmode: force\nmx: a.test\nmax_age: 1\n",
		"no mx":          "version: STSv1\nmode: enforce\nmax_age: 1\n",
		"testing, no mx": "version: STSv1\nmode: testing\nmax_age: 1\n",
		"bad mx":         "version: STSv1\nmode: enforce\nmx: a b.test\nmax_age: 1\n",
		"lone star":      "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n",
		"inner star":     "version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1\n",
		"two stars":      "version: STSv1\nmode: enforce\nmx: *.*.test\nmax_age: 1\n",
		"partial star":   "version: STSv1\nmode: enforce\nmx: mx*.test\nmax_age: 1\n",
		"no max_age":     "version: STSv1\nmode: none\n",
		"negative age":   "version: STSv1\nmode: none\nmax_age: -1\n",
		"age with unit":  "version: STSv1\nmode: none\nmax_age: 1d\n",
		"age too long":   "version: STSv1\nmode: none\nmax_age: 12345678901\n",
		"too many mx":    "version: STSv1\nmode: enforce\nmax_age: 1\n" + strings.Repeat("mx: a.test\n", maxPatterns+1),
	} {
		if p, err := Parse(text); err == nil {
			t.Errorf("%s: taken as %+v", name, p)
		}
	}
	if p, err := Parse("version: STSv1\nmode: none\nmax_age: 0\n"); err != nil || p.Mode != None || p.MaxAge != 0 {
		t.Errorf("none: %+v, %v", p, err)
	}
}

func TestR46_MaxAgeIsCapped(t *testing.T) {
	p, err := Parse("version: STSv1\nmode: none\nmax_age: 9999999999\n")
	if err != nil || p.MaxAge != 31_557_600*time.Second {
		t.Errorf("%s, %v", p.MaxAge, err)
	}
}

func TestR48_Match(t *testing.T) {
	p := Policy{MX: []string{"mail.example.test", "*.example.net"}}
	for host, want := range map[string]bool{
		"mail.example.test": true, "other.example.test": false, "example.test": false, "x.mail.example.test": false,
		"a.example.net": true, "b.example.net": true, "example.net": false, "a.b.example.net": false, "aexample.net": false,
		".example.net": true, // no host has such a name
		"net":          false, "": false,
	} {
		if got := p.Allows(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{goodPolicy, "version: STSv1\r\nmode: none\r\nmax_age: 1\r\n", ":", "mx: *.\n", "version: STSv1\nmode: testing\nmx: *.a\nmax_age: 0000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.Mode != Enforce && p.Mode != Testing && p.Mode != None || p.MaxAge < 0 || p.MaxAge > maxAge || len(p.MX) > maxPatterns {
			t.Fatalf("%+v", p)
		}
		// What was read says the same when it is written again.
		again := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", p.Mode, int(p.MaxAge/time.Second))
		for _, mx := range p.MX {
			again += "mx: " + mx + "\n"
		}
		q, err := Parse(again)
		if err != nil || q.Mode != p.Mode || q.MaxAge != p.MaxAge || !slices.Equal(q.MX, p.MX) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
	})
}

func FuzzRecordID(f *testing.F) {
	f.Add("v=STSv1; id=20240101;", "v=spf1")
	f.Add("v=STSv1;;;id==", "v=STSv1")
	f.Fuzz(func(t *testing.T, a, b string) {
		id, ok := RecordID([]string{a, b})
		if ok && (!alphanumeric(id) || strings.HasPrefix(a, "v=STSv1;") && strings.HasPrefix(b, "v=STSv1;")) {
			t.Fatalf("%q from %q and %q", id, a, b)
		}
	})
}
