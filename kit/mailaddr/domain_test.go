// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
)

func TestR15_CheckHost(t *testing.T) {
	good := []string{
		"a", "mx1.example.com", "MX1.Example.com", "_x.example", "a_b.example", "-a-.example", "1.2.3.example", "1.2.3",
		rep("a", 63) + ".example", strings.TrimSuffix(rep(rep("a", 62)+".", 5)[:253], "."),
	}
	for _, name := range good {
		if err := CheckHost(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	bad := []string{
		"", ".", "a.", ".a", "a..b", "192.0.2.1", "255.255.255.255", "a b", "a/b", "a:b", "[192.0.2.1]", "2001:db8::1", "bücher", "a\x00",
		rep("a", 64), rep("a.", 126) + "aa",
	}
	for _, name := range bad {
		err := CheckHost(name)
		parse, ok := errors.AsType[*ParseError](err)
		if !ok || parse.Enhanced != smtpreply.Code(5, 1, 2) || parse.Reason != ReasonDomain {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestR50_ToASCII(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Example.COM", "example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"faß.example", "xn--fa-hia.example"},
		{"xn--fa-hia.example", "xn--fa-hia.example"},
		{"a.XN--fa-hia", "a.xn--fa-hia"},
		{"ＥＸＡＭＰＬＥ.com", "example.com"},
		{"ab--cd.example", "ab--cd.example"},
		{"ab--cd.bücher.example", "ab--cd.xn--bcher-kva.example"},
	}
	for _, tt := range tests {
		if got, err := ToASCII(tt.in); got != tt.want || err != nil {
			t.Errorf("ToASCII(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
	bad := []string{
		"", "bücher..example", "xn--.example", "xn--a.example", "xn--0.example", "\u200d.example", rep("ü", 60) + ".example",
		rep("ü", 600), "[192.0.2.1]", "bücher.", "\xff.example", "\ufffd.example",
	}
	for _, in := range bad {
		if got, err := ToASCII(in); err == nil {
			t.Errorf("ToASCII(%q) = %q", in, got)
		}
	}
}

func TestToASCII_PlainNamesCostNothing(t *testing.T) {
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := ToASCII("mail.example.com"); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a plain lower-case name", allocs)
	}
}

// FuzzToASCII: an A-label form is a host name in lower case and is its own A-label form.
func FuzzToASCII(f *testing.F) {
	for _, seed := range []string{"example.com", "bücher.example", "xn--bcher-kva.example", "例え。テスト", "a\u2100b", "xn--a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, domain string) {
		ascii, err := ToASCII(domain)
		if err != nil {
			return
		}
		if CheckHost(ascii) != nil || ascii != strings.ToLower(ascii) || !isASCII(ascii) {
			t.Fatalf("ToASCII(%q) = %q", domain, ascii)
		}
		if again, err := ToASCII(ascii); err != nil || again != ascii {
			t.Fatalf("ToASCII(%q) = %q, then %q, %v", domain, ascii, again, err)
		}
	})
}
