// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// TestS30_ParseEnhanced: only what RFC 3463, section 2, calls a status code is one.
func TestS30_ParseEnhanced(t *testing.T) {
	tests := []struct {
		text string
		code EnhancedCode
		rest string
		ok   bool
	}{
		{"5.1.1 No such user", Code(5, 1, 1), "No such user", true},
		{"2.0.0 Ok", Code(2, 0, 0), "Ok", true},
		{"4.7.0", Code(4, 7, 0), "", true},
		{"4.7.0 ", Code(4, 7, 0), "", true},
		{"5.7.999 x", Code(5, 7, 999), "x", true},
		{"5.999.999  two spaces", Code(5, 999, 999), " two spaces", true},
		{"5.1.1", Code(5, 1, 1), "", true},
		{"", EnhancedCode{}, "", false},
		{"5", EnhancedCode{}, "5", false},
		{"5.1", EnhancedCode{}, "5.1", false},
		{"5.1.", EnhancedCode{}, "5.1.", false},
		{"5..1 x", EnhancedCode{}, "5..1 x", false},
		{"3.1.1 intermediate", EnhancedCode{}, "3.1.1 intermediate", false},
		{"1.1.1 x", EnhancedCode{}, "1.1.1 x", false},
		{"55.1.1 x", EnhancedCode{}, "55.1.1 x", false},
		{"5.1.1000 x", EnhancedCode{}, "5.1.1000 x", false},
		{"5.1000.1 x", EnhancedCode{}, "5.1000.1 x", false},
		{"5.01.1 leading zero", EnhancedCode{}, "5.01.1 leading zero", false},
		{"5.1.00 x", EnhancedCode{}, "5.1.00 x", false},
		{"5.1.1-x", EnhancedCode{}, "5.1.1-x", false},
		{"5.1.1.1 an address?", EnhancedCode{}, "5.1.1.1 an address?", false},
		{" 5.1.1 x", EnhancedCode{}, " 5.1.1 x", false},
		{"5.-1.1 x", EnhancedCode{}, "5.-1.1 x", false},
		{"5.1.1\tx", EnhancedCode{}, "5.1.1\tx", false},
	}
	for _, tt := range tests {
		code, rest, ok := ParseEnhanced(tt.text)
		if code != tt.code || rest != tt.rest || ok != tt.ok {
			t.Errorf("ParseEnhanced(%q) = %v, %q, %v; want %v, %q, %v", tt.text, code, rest, ok, tt.code, tt.rest, tt.ok)
		}
	}
}

func TestEnhancedCode_StringAndClass(t *testing.T) {
	if got := Code(5, 1, 10).String(); got != "5.1.10" {
		t.Errorf("String = %q", got)
	}
	if got := (EnhancedCode{}).String(); got != "" {
		t.Errorf("zero code prints %q", got)
	}
	if got := Code(5, 3, 2).WithClass(4); got != Code(4, 3, 2) {
		t.Errorf("WithClass = %v", got)
	}
	if got := (EnhancedCode{}).WithClass(4); !got.IsZero() {
		t.Errorf("a missing code became %v", got)
	}
}

func TestEnhancedCode_Valid(t *testing.T) {
	tests := map[EnhancedCode]bool{
		Code(2, 0, 0): true, Code(4, 999, 999): true, Code(5, 1, 1): true,
		{}: false, Code(3, 0, 0): false, Code(1, 0, 0): false, Code(6, 0, 0): false,
		Code(5, -1, 0): false, Code(5, 0, -1): false, Code(5, 1000, 0): false, Code(5, 0, 1000): false,
	}
	for code, want := range tests {
		if code.Valid() != want {
			t.Errorf("%+v valid = %v", code, !want)
		}
		if got := code.Proto() != nil; got != want {
			t.Errorf("%+v stands in an event = %v", code, got)
		}
	}
}

func TestEnhancedFromProto_DropsWhatIsNoCode(t *testing.T) {
	bad := []*eventv1.EnhancedCode{
		nil, {}, {Class: 3}, {Class: 1 << 31}, {Class: 5, Subject: 1000}, {Class: 5, Detail: 1 << 31}, {Class: 0, Subject: 1},
	}
	for _, p := range bad {
		if got := EnhancedFromProto(p); !got.IsZero() {
			t.Errorf("EnhancedFromProto(%v) = %v", p, got)
		}
	}
	if got := EnhancedFromProto(Code(5, 1, 10).Proto()); got != Code(5, 1, 10) {
		t.Errorf("came back as %v", got)
	}
}

// FuzzParseEnhanced: a code that is taken is valid, prints as it stood, and nothing of the text is lost.
func FuzzParseEnhanced(f *testing.F) {
	for _, seed := range []string{"5.1.1 No such user", "4.7.0", "2.0.0 ", "5.01.1 x", "9.9.9", "5.1.1000", "5.1.", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, rest, ok := ParseEnhanced(text)
		if !ok {
			if !code.IsZero() || rest != text {
				t.Fatalf("no code in %q, but %v and %q returned", text, code, rest)
			}
			return
		}
		if !code.Valid() {
			t.Fatalf("%q gave %+v", text, code)
		}
		behind, found := strings.CutPrefix(text, code.String())
		if !found || strings.TrimPrefix(behind, " ") != rest {
			t.Fatalf("%q was read as %v and %q", text, code, rest)
		}
	})
}
