// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"errors"
	"strings"
	"testing"
)

func TestG17_XText(t *testing.T) {
	for plain, encoded := range map[string]string{
		"":                "",
		"abc":             "abc",
		"bob@example.com": "bob@example.com",
		"a+b=c":           "a+2Bb+3Dc",
		"a b":             "a+20b",
		"\r\n\x00":        "+0D+0A+00",
		"ü":               "+C3+BC",
		"~!":              "~!",
		"\x7f":            "+7F",
	} {
		if got := EncodeXText(plain); got != encoded {
			t.Errorf("EncodeXText(%q) = %q, want %q", plain, got, encoded)
		}
		if got, err := DecodeXText(encoded); got != plain || err != nil {
			t.Errorf("DecodeXText(%q) = %q, %v; want %q", encoded, got, err, plain)
		}
	}
}

func TestG17_DecodeXTextRefuses(t *testing.T) {
	for _, bad := range []string{"a b", "a=b", "+", "a+2", "+2b", "+G0", "+ 2", "+-1", "ü", "a\x00", "a\r\n", "\x7f"} {
		if got, err := DecodeXText(bad); !errors.Is(err, ErrXText) || got != "" {
			t.Errorf("DecodeXText(%q) = %q, %v", bad, got, err)
		}
	}
	// Every character may be encoded, also one that need not be.
	if got, err := DecodeXText("+61"); got != "a" || err != nil {
		t.Errorf("DecodeXText(+61) = %q, %v", got, err)
	}
}

// FuzzXText: any octets survive the way, and what was decoded encodes to something that decodes to the same.
func FuzzXText(f *testing.F) {
	for _, seed := range []string{"", "a+2Bb", "a+b", "+00", "ü", "+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := EncodeXText(s)
		if strings.ContainsAny(encoded, " =\r\n\x00") || !isASCII(encoded) {
			t.Fatalf("EncodeXText(%q) = %q", s, encoded)
		}
		if got, err := DecodeXText(encoded); got != s || err != nil {
			t.Fatalf("%q came back as %q, %v", s, got, err)
		}
		if decoded, err := DecodeXText(s); err == nil {
			if again, err := DecodeXText(EncodeXText(decoded)); again != decoded || err != nil {
				t.Fatalf("%q: %q then %q, %v", s, decoded, again, err)
			}
		}
	})
}
