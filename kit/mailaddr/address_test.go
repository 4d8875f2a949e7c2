// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
)

func rep(s string, n int) string { return strings.Repeat(s, n) }

func TestG01_ParseTakesMailboxes(t *testing.T) {
	tests := []struct{ name, in, local, domain string }{
		{"plain", "bob@example.com", "bob", "example.com"},
		{"kept as written", "Bob.Smith+tag@EXAMPLE.com", "Bob.Smith+tag", "EXAMPLE.com"},
		{"every atext", "!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~", "example.com"},
		{"quoted with space", `"john doe"@example.com`, `"john doe"`, "example.com"},
		{"quoted with at", `"a@b"@example.com`, `"a@b"`, "example.com"},
		{"quoted with escapes", `"a\"\\b"@example.com`, `"a\"\\b"`, "example.com"},
		{"quoted dots", `"..a."@example.com`, `"..a."`, "example.com"},
		{"quoted brackets and route", `"<@x,y:z>"@example.com`, `"<@x,y:z>"`, "example.com"},
		{"empty quoted", `""@example.com`, `""`, "example.com"},
		{"one label", "root@localhost", "root", "localhost"},
		{"underscore in domain", "a@_x.example", "a", "_x.example"},
		{"hyphens in third and fourth place", "a@ab--cd.example", "a", "ab--cd.example"},
		{"digits only label", "a@123.example", "a", "123.example"},
		{"IPv4 literal", "a@[192.0.2.1]", "a", "[192.0.2.1]"},
		{"IPv6 literal", "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"},
		{"UTF-8 local part", "пример@example.com", "пример", "example.com"},
		{"UTF-8 quoted local part", `"пример x"@example.com`, `"пример x"`, "example.com"},
		{"U-label", "a@bücher.example", "a", "bücher.example"},
		{"A-label", "a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"},
		{"local part of 64", rep("a", 64) + "@example.com", rep("a", 64), "example.com"},
		{"path of 256", rep("a", 64) + "@" + rep(rep("b", 62)+".", 2) + rep("c", 63), rep("a", 64), rep(rep("b", 62)+".", 2) + rep("c", 63)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got.Local != tt.local || got.Domain != tt.domain {
				t.Errorf("got %+v", got)
			}
			if got.String() != tt.in {
				t.Errorf("written back as %q", got.String())
			}
		})
	}
}

func TestG01G02R50R51_ParseRefuses(t *testing.T) {
	mailbox, system := smtpreply.Code(5, 1, 3), smtpreply.Code(5, 1, 2)
	tests := []struct {
		name, in string
		reason   Reason
		enhanced smtpreply.EnhancedCode
	}{
		{"empty", "", ReasonEmpty, mailbox},
		{"CR LF", "bob@example.com\r\nRCPT TO:<x@y>", ReasonControl, mailbox},
		{"LF in quoted local part", "\"a\nb\"@example.com", ReasonControl, mailbox},
		{"NUL", "bo\x00b@example.com", ReasonControl, mailbox},
		{"tab", "bo\tb@example.com", ReasonControl, mailbox},
		{"DEL", "bo\x7fb@example.com", ReasonControl, mailbox},
		{"C1 control", "bo\u0085b@example.com", ReasonControl, mailbox},
		{"line separator", "bo\u2028b@example.com", ReasonControl, mailbox},
		{"not UTF-8", "b\xf6b@example.com", ReasonControl, mailbox},
		{"no domain", "bob", ReasonNoDomain, mailbox},
		{"quoted, no domain", `"bob"`, ReasonNoDomain, mailbox},
		{"empty domain", "bob@", ReasonEmpty, mailbox},
		{"no local part", "@example.com", ReasonSourceRoute, mailbox},
		{"source route", "@a.example,@b.example:bob@example.com", ReasonSourceRoute, mailbox},
		{"two at signs", "a@b@example.com", ReasonLocal, mailbox},
		{"leading dot", ".bob@example.com", ReasonLocal, mailbox},
		{"trailing dot", "bob.@example.com", ReasonLocal, mailbox},
		{"two dots", "bo..b@example.com", ReasonLocal, mailbox},
		{"space", "bo b@example.com", ReasonLocal, mailbox},
		{"comma list", "a@example.com,b@example.com", ReasonBrackets, mailbox},
		{"comment", "bob@example.com (Bob)", ReasonBrackets, mailbox},
		{"display name", "Bob <bob@example.com>", ReasonBrackets, mailbox},
		{"angle brackets", "<bob@example.com>", ReasonBrackets, mailbox},
		{"unclosed quote", `"bob@example.com`, ReasonLocal, mailbox},
		{"text behind quote", `"bob"x@example.com`, ReasonLocal, mailbox},
		{"escape at the end", `"bob\`, ReasonLocal, mailbox},
		{"escaped non-ASCII", `"b\ü"@example.com`, ReasonLocal, mailbox},
		{"local part of 65", rep("a", 65) + "@example.com", ReasonTooLong, mailbox},
		{"local part of 33 two-octet letters", rep("ä", 33) + "@example.com", ReasonTooLong, mailbox},
		{"path of 257", "a@" + rep(rep("b", 62)+".", 4) + "b", ReasonTooLong, mailbox},
		{"port", "bob@example.com:25", ReasonPort, mailbox},
		{"port behind literal", "bob@[192.0.2.1]:25", ReasonPort, mailbox},
		{"trailing dot of domain", "bob@example.com.", ReasonDomain, system},
		{"leading dot of domain", "bob@.example.com", ReasonDomain, system},
		{"empty label", "bob@example..com", ReasonDomain, system},
		{"label of 64", "bob@" + rep("a", 64) + ".example", ReasonDomain, system},
		{"illegal character", "bob@exa$mple.com", ReasonDomain, system},
		{"hyphen first", "bob@-a.example", ReasonDomain, system},
		{"hyphen last", "bob@a-.example", ReasonDomain, system},
		{"IP address without brackets", "bob@192.0.2.1", ReasonDomain, system},
		{"fullwidth IP address", "bob@１９２.0.2.1", ReasonDomain, system},
		{"bad punycode", "bob@xn--\u0061\u0061\u0061\u0061-.example", ReasonDomain, system},
		{"disallowed code point", "bob@a\u2260\u0338b\u2ff0.example", ReasonDomain, system},
		{"mapped to a slash", "bob@a\u2100.example", ReasonDomain, system},
		{"mixed directions", "bob@a\u05d0b.example", ReasonDomain, system},
		{"literal without tag", "bob@[2001:db8::1]", ReasonLiteral, mailbox},
		{"tagged IPv4", "bob@[IPv6:192.0.2.1]", ReasonLiteral, mailbox},
		{"IPv4 of three numbers", "bob@[192.0.2]", ReasonLiteral, mailbox},
		{"leading zero", "bob@[192.0.2.01]", ReasonLiteral, mailbox},
		{"number over 255", "bob@[192.0.2.256]", ReasonLiteral, mailbox},
		{"zone", "bob@[IPv6:fe80::1%eth0]", ReasonLiteral, mailbox},
		{"general literal", "bob@[X400:abc]", ReasonLiteral, mailbox},
		{"unclosed literal", "bob@[192.0.2.1", ReasonLiteral, mailbox},
		{"empty literal", "bob@[]", ReasonLiteral, mailbox},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			parse, ok := errors.AsType[*ParseError](err)
			if !ok {
				t.Fatalf("taken as %+v, or an untyped error: %v", got, err)
			}
			if parse.Reason != tt.reason || parse.Enhanced != tt.enhanced {
				t.Errorf("got %s %s (%s), want %s %s", parse.Reason, parse.Enhanced, parse.Detail, tt.reason, tt.enhanced)
			}
			if got != (Address{}) {
				t.Errorf("a refused address was returned: %+v", got)
			}
			if len(tt.in) > 4 && strings.Contains(parse.Error(), tt.in) {
				t.Errorf("the error holds the address: %v", parse)
			}
		})
	}
}

func TestG01_SenderEnhanced(t *testing.T) {
	for in, want := range map[string]string{"bob": "5.1.7", "bob@a..b": "5.1.8", "bo\x00b@example.com": "5.1.7"} {
		_, err := Parse(in)
		parse, ok := errors.AsType[*ParseError](err)
		if !ok || parse.SenderEnhanced().String() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

func TestParsePath(t *testing.T) {
	tests := []struct {
		in   string
		want string
		null bool
		bad  bool
	}{
		{in: "", null: true},
		{in: "<>", null: true},
		{in: "<bob@example.com>", want: "bob@example.com"},
		{in: "bob@example.com", want: "bob@example.com"},
		{in: `<"a>b"@example.com>`, want: `"a>b"@example.com`},
		{in: "<", bad: true},
		{in: ">", bad: true},
		{in: "<<bob@example.com>>", bad: true},
		{in: "<bob@example.com", bad: true},
		{in: "bob@example.com>", bad: true},
		{in: "<@a:bob@example.com>", bad: true},
		{in: " ", bad: true},
	}
	for _, tt := range tests {
		got, err := ParsePath(tt.in)
		if (err != nil) != tt.bad {
			t.Errorf("ParsePath(%q): %v", tt.in, err)
			continue
		}
		if got.String() != tt.want || got.IsNull() != (tt.null || tt.bad) {
			t.Errorf("ParsePath(%q) = %+v", tt.in, got)
		}
	}
}

func TestG01_EqualComparesLocalBytewiseAndDomainFolded(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"bob@example.com", "bob@EXAMPLE.COM", true},
		{"bob@example.com", "Bob@example.com", false},
		{`"bob"@example.com`, "bob@example.com", false},
		{"bob@bücher.example", "bob@XN--BCHER-KVA.example", true},
		{"bob@BÜCHER.example", "bob@bücher.example", true},
		{"bob@straße.example", "bob@strasse.example", false}, // non-transitional
		{"bob@[IPv6:2001:db8::1]", "bob@[ipv6:2001:DB8:0::1]", true},
		{"bob@[192.0.2.1]", "bob@[192.0.2.2]", false},
		{"bob@a.example", "bob@b.example", false},
	}
	for _, tt := range tests {
		a, b := parse(t, tt.a), parse(t, tt.b)
		if got := a.Equal(b); got != tt.want {
			t.Errorf("%s equal %s = %v", tt.a, tt.b, got)
		}
		if got := a.Key() == b.Key(); got != tt.want {
			t.Errorf("keys of %s and %s: %q, %q", tt.a, tt.b, a.Key(), b.Key())
		}
	}
	if (Address{}).Key() != "" || !(Address{}).Equal(Address{}) {
		t.Error("the null reverse-path is not equal to itself")
	}
}

func TestR50_Destination(t *testing.T) {
	tests := map[string]string{
		"a@Example.COM":               "example.com",
		"a@bücher.example":            "xn--bcher-kva.example",
		"a@BÜCHER.Example":            "xn--bcher-kva.example",
		"a@straße.example":            "xn--strae-oqa.example",
		"a@例え。テスト":                    "xn--r8jz45g.xn--zckzah",
		"a@XN--BCHER-KVA.example":     "xn--bcher-kva.example",
		"a@_dmarc.bücher.example":     "_dmarc.xn--bcher-kva.example",
		"a@ab--cd.example":            "ab--cd.example",
		"a@[192.0.2.1]":               "[192.0.2.1]",
		"a@[ipv6:2001:0DB8:0:0::1]":   "[IPv6:2001:db8::1]",
		"a@[IPv6:::ffff:192.0.2.1]":   "[IPv6:::ffff:192.0.2.1]",
		"a@" + rep("b", 63) + ".test": rep("b", 63) + ".test",
	}
	for in, want := range tests {
		if got := parse(t, in).Destination(); got != want {
			t.Errorf("destination of %s is %q, want %q", in, got, want)
		}
	}
	if got := (Address{}).Destination(); got != "" {
		t.Errorf("the null reverse-path goes to %q", got)
	}
	if got := (Address{Local: "a", Domain: "Bad..Name"}).Destination(); got != "bad..name" {
		t.Errorf("got %q", got)
	}
}

func TestR51_LiteralAddr(t *testing.T) {
	a := parse(t, "a@[IPv6:2001:db8::1]")
	addr, ok := a.LiteralAddr()
	if !ok || !a.IsLiteral() || addr != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("got %v %v", addr, ok)
	}
	if _, ok := parse(t, "a@example.com").LiteralAddr(); ok {
		t.Error("a name was read as a literal")
	}
	for _, text := range []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"} {
		addr := netip.MustParseAddr(text)
		if got, ok := ParseLiteral(Literal(addr)); !ok || got != addr.WithZone("") {
			t.Errorf("%s became %s and then %v", text, Literal(addr), got)
		}
	}
}

func TestS68_ToASCII(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"bob@example.com", "bob@example.com", true},
		{"Bob@Example.com", "Bob@Example.com", true},
		{"bob@bücher.example", "bob@xn--bcher-kva.example", true},
		{"пример@example.com", "пример@example.com", false},
	}
	for _, tt := range tests {
		got, ok := parse(t, tt.in).ToASCII()
		if got.String() != tt.want || ok != tt.ok {
			t.Errorf("%s: %s %v", tt.in, got, ok)
		}
		if ok != got.IsASCII() {
			t.Errorf("%s: IsASCII = %v", tt.in, got.IsASCII())
		}
	}
}

func parse(t *testing.T, s string) Address {
	t.Helper()
	a, err := Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return a
}

// FuzzParse: what is taken keeps its limits, is written back unchanged, holds nothing that could end a command line, and
// has a destination DNS can ask for.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"bob@example.com", `"a b"@example.com`, "a@[192.0.2.1]", "a@[IPv6:::1]", "пример@bücher.example", "a@xn--bcher-kva.example",
		"@a:b@c", "a@b:25", "a\r\n@b", "a@" + rep("b.", 120) + "c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			if _, ok := errors.AsType[*ParseError](err); !ok {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if a.String() != s || len(s)+2 > MaxPath || len(a.Local) > MaxLocal || len(a.Domain) > MaxDomain {
			t.Fatalf("%q was taken as %+v", s, a)
		}
		if strings.ContainsAny(s, "\r\n\x00") || (a.Local[0] != '"' && strings.ContainsAny(s, "<> ")) {
			t.Fatalf("%q was taken", s)
		}
		destination := a.Destination()
		if addr, ok := ParseLiteral(destination); ok {
			if Literal(addr) != destination {
				t.Fatalf("%q is not canonical", destination)
			}
		} else if err := CheckHost(destination); err != nil || destination != strings.ToLower(destination) {
			t.Fatalf("%q goes to %q: %v", s, destination, err)
		}
		again, err := Parse("x@" + destination)
		if err == nil && again.Destination() != destination {
			t.Fatalf("%q goes to %q, that to %q", s, destination, again.Destination())
		}
		if !a.Equal(Address{Local: a.Local, Domain: destination}) {
			t.Fatalf("%q is not equal to itself at %q", s, destination)
		}
		if back, err := ParsePath("<" + s + ">"); err != nil || back != a {
			t.Fatalf("ParsePath: %+v %v", back, err)
		}
	})
}
