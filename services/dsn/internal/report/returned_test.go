// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// TestD08_WhatIsReturned holds RET against kind, size and REQUIRETLS.
func TestD08_WhatIsReturned(t *testing.T) {
	const (
		full    = "message/rfc822"
		headers = "text/rfc822-headers"
	)
	long := original + strings.Repeat("0123456789abcdef\r\n", 50<<10/18+1)
	fits := original + strings.Repeat("x\r\n", (50<<10-len(original))/3)
	tests := []struct {
		name    string
		ret     eventv1.Ret
		kind    policy.Kind
		content string
		change  func(*Input)
		want    string
	}{
		{"FULL", eventv1.Ret_RET_FULL, policy.Failed, original, nil, full},
		{"HDRS", eventv1.Ret_RET_HDRS, policy.Failed, original, nil, headers},
		{"absent", eventv1.Ret_RET_UNSPECIFIED, policy.Failed, original, nil, headers},
		{"unknown", eventv1.Ret(9), policy.Failed, original, nil, headers},
		{"FULL, delayed", eventv1.Ret_RET_FULL, policy.Delayed, original, nil, headers},
		{"FULL, relayed", eventv1.Ret_RET_FULL, policy.Relayed, original, nil, headers},
		{"FULL, delivered", eventv1.Ret_RET_FULL, policy.Delivered, original, nil, headers},
		{"FULL, at the limit", eventv1.Ret_RET_FULL, policy.Failed, fits, nil, full},
		{"FULL, over the limit", eventv1.Ret_RET_FULL, policy.Failed, long, nil, headers},
		{
			"FULL, original over the limit, piece of it stored", eventv1.Ret_RET_FULL, policy.Failed, original,
			func(in *Input) { in.Outcome.Content.Size = 50<<10 + 1 }, headers,
		},
		{
			"FULL, size beyond all numbers", eventv1.Ret_RET_FULL, policy.Failed, original,
			func(in *Input) { in.Outcome.Content.Size = 1<<64 - 1 }, headers,
		},
		{
			"FULL, only the header block stored", eventv1.Ret_RET_FULL, policy.Failed, original[:headerLen(original)],
			func(in *Input) { in.Outcome.ReturnsFullContent = false }, headers,
		},
		{
			"FULL, REQUIRETLS", eventv1.Ret_RET_FULL, policy.Failed, original,
			func(in *Input) { in.Outcome.RequireTls = true }, headers,
		},
		{"FULL, nothing stored", eventv1.Ret_RET_FULL, policy.Failed, "", nil, ""},
		{"FULL, bare LF", eventv1.Ret_RET_FULL, policy.Failed, original + "a\nb\r\n", nil, headers},
		{"FULL, bare CR", eventv1.Ret_RET_FULL, policy.Failed, original + "a\rb\r\n", nil, headers},
		{"FULL, NUL", eventv1.Ret_RET_FULL, policy.Failed, original + "a\x00b\r\n", nil, headers},
		{"FULL, line over 998", eventv1.Ret_RET_FULL, policy.Failed, original + strings.Repeat("x", 999) + "\r\n", nil, headers},
		{"FULL, line of 998", eventv1.Ret_RET_FULL, policy.Failed, original + strings.Repeat("x", 998) + "\r\n", nil, full},
		{"FULL, no final line end", eventv1.Ret_RET_FULL, policy.Failed, original + "the end", nil, full},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := whole(input(refused("bob@example.net")), tt.content)
			in.Kind, in.Outcome.Ret = tt.kind, tt.ret
			if tt.change != nil {
				tt.change(&in)
			}
			_, p := compose(t, in)
			want := []string{"text/plain", "message/delivery-status"}
			if tt.want != "" {
				want = append(want, tt.want)
			}
			if strings.Join(p.types, " ") != strings.Join(want, " ") {
				t.Fatalf("parts %v, want %v", p.types, want)
			}
			switch tt.want {
			case full:
				if p.returned != tt.content {
					t.Errorf("returned message differs from the original")
				}
			case headers:
				if p.returned != string(headerBlock([]byte(original))) {
					t.Errorf("returned header differs from the original:\n%s", p.returned)
				}
			}
		})
	}
}

func TestD08_EightBitOriginalIsReturnedUnaltered(t *testing.T) {
	content := strings.Replace(original, "Hello", "Gr\u00fc\u00dfe", 1)
	m, p := compose(t, whole(input(refused("bob@example.net")), content))
	if p.returned != content {
		t.Errorf("returned message differs:\n%s", p.returned)
	}
	if p.header.Get("Content-Transfer-Encoding") != "8bit" || !strings.Contains(string(m.Content), "\u00fc") {
		t.Error("eight bits are not declared on the notification")
	}
}

func TestD08_BrokenHeadersAreEncoded(t *testing.T) {
	for name, block := range map[string]string{
		"UTF-8":   "Subject: Gr\u00fc\u00dfe\r\nFrom: a@b\r\n",
		"latin 1": "Subject: Gr\xfc\xdfe\r\nFrom: a@b\r\n",
		"endless": "Subject: " + strings.Repeat("x", 5000) + "\r\n",
		"bare CR": "Subject: a\rb\r\n",
		"bare LF": "Subject: a\nb\r\n",
		"NUL":     "Subject: a\x00b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			in := input(refused("bob@example.net"))
			in.Original = []byte(block)
			m, p := compose(t, in)
			if p.returned != block {
				t.Errorf("returned header %q, want %q", p.returned, block)
			}
			if !isASCII(m.Content) {
				t.Error("the notification does not go over seven bits")
			}
		})
	}
}

func TestD08_LongHeaderIsCutBetweenFields(t *testing.T) {
	field := "X-Field: " + strings.Repeat("x", 500) + "\r\n\t" + strings.Repeat("y", 500) + "\r\n"
	in := input(refused("bob@example.net"))
	in.Original = []byte("Subject: first\r\n" + strings.Repeat(field, 200) + "\r\n")
	_, p := compose(t, in)
	rest := strings.TrimPrefix(p.returned, "Subject: first\r\n")
	if n := len(rest) / len(field); rest != strings.Repeat(field, n) || n == 0 || len(p.returned) > maxReturnedHeader {
		t.Errorf("%d octets returned, not whole fields", len(p.returned))
	}
	if !strings.Contains(p.text, "first header lines") {
		t.Errorf("the text does not say that the header is cut:\n%s", p.text)
	}
}

func TestD08_TextSaysWhatIsAttached(t *testing.T) {
	in := whole(input(refused("bob@example.net")), original)
	_, p := compose(t, in)
	if !strings.Contains(p.text, "A technical report and your message are attached.") {
		t.Errorf("text:\n%s", p.text)
	}
	in.Original = nil
	_, p = compose(t, in)
	if !strings.Contains(p.text, "A technical report is attached.") {
		t.Errorf("text:\n%s", p.text)
	}
}
