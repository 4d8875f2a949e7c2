// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestS25_Keywords(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  Extensions
	}{
		"none":               {[]string{"mx.example"}, Extensions{}},
		"no line at all":     {nil, Extensions{}},
		"name is no keyword": {[]string{"PIPELINING"}, Extensions{}},
		"case and blanks": {
			[]string{"x", "pipelining", "8bitMime  ", "StartTLS\t", "dsn", "SMTPutf8", "RequireTLS", "EnhancedStatusCodes"},
			Extensions{
				Pipelining: true, EightBitMIME: true, StartTLS: true, DSN: true, SMTPUTF8: true, RequireTLS: true,
				EnhancedStatusCodes: true,
			},
		},
		"Exchange of old": {
			[]string{
				"aliasex2000 Hello [192.0.2.1]", "TURN", "SIZE", "ETRN", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8bitmime",
				"BINARYMIME", "CHUNKING", "VRFY", "X-EXPS GSSAPI NTLM LOGIN", "X-EXPS=LOGIN", "AUTH GSSAPI NTLM LOGIN",
				"AUTH=LOGIN", "X-LINK2STATE", "XEXCH50", "OK",
			},
			Extensions{
				Size: true, Pipelining: true, DSN: true, EnhancedStatusCodes: true, EightBitMIME: true,
				Auth: []string{"GSSAPI", "NTLM", "LOGIN", "LOGIN"},
			},
		},
		"odd ones are ignored": {
			[]string{"x", "", " ", " PIPELINING", "\x00DSN", "PIPELINING\x07", "8BITMIME2", "STARTTLSX", "\xff\xfe"},
			Extensions{},
		},
		"parameters do not hide a keyword": {[]string{"x", "PIPELINING now", "STARTTLS REQUIRED"}, Extensions{Pipelining: true, StartTLS: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseExtensions(c.lines); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestS45_SizeThatCannotBeReadIsIgnored(t *testing.T) {
	for params, want := range map[string]int64{
		"10485760": 10485760, "0": 0, "": 0, "-1": 0, "1e6": 0, "99999999999999999999": 0, "1000 extra": 1000, "  77": 77,
		"9223372036854775807": math.MaxInt64, "9223372036854775808": 0, "+5": 0, "0x10": 0, "ten": 0,
	} {
		got := parseExtensions([]string{"x", "SIZE " + params})
		if got.MaxSize != want || !got.Size {
			t.Errorf("SIZE %q: %d, %t; want %d", params, got.MaxSize, got.Size, want)
		}
	}
}

func TestS55_Limits(t *testing.T) {
	for params, want := range map[string][2]int{
		"RCPTMAX=20 MAILMAX=5":         {20, 5},
		"rcptmax=20":                   {20, 0},
		"RCPTMAX=0":                    {0, 0},
		"RCPTMAX=-1 MAILMAX=x":         {0, 0},
		"RCPTMAX=99999999999":          {0, 0},
		"RCPTMAX":                      {0, 0},
		"":                             {0, 0},
		"RCPTDOMAINMAX=1 RCPTMAX=1000": {1000, 0},
	} {
		got := parseExtensions([]string{"x", "LIMITS " + params})
		if got.MaxRecipients != want[0] || got.MaxMessages != want[1] {
			t.Errorf("LIMITS %q: %d, %d; want %v", params, got.MaxRecipients, got.MaxMessages, want)
		}
	}
}

func FuzzEhloReply(f *testing.F) {
	f.Add("mx\nSIZE 1000\nLIMITS RCPTMAX=5\nAUTH PLAIN\nPIPELINING")
	f.Add("\n\n\x00\nSIZE 99999999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		e := parseExtensions(lines)
		if e.MaxSize < 0 || e.MaxRecipients < 0 || e.MaxMessages < 0 || len(e.Auth) > 32 {
			t.Fatalf("impossible: %+v", e)
		}
		if again := parseExtensions(lines); !reflect.DeepEqual(e, again) {
			t.Fatal("not the same twice")
		}
	})
}
