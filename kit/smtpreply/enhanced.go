// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strconv"
	"strings"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// EnhancedCode is an enhanced mail system status code (RFC 3463, section 2). The zero value means that there is none.
type EnhancedCode struct {
	// Class is 2, 4 or 5.
	Class int
	// Subject is 0 to 999.
	Subject int
	// Detail is 0 to 999.
	Detail int
}

// Code returns the enhanced code class.subject.detail.
func Code(class, subject, detail int) EnhancedCode {
	return EnhancedCode{Class: class, Subject: subject, Detail: detail}
}

// String returns the code in the form "5.1.1", and "" for the zero value.
func (c EnhancedCode) String() string {
	if c.IsZero() {
		return ""
	}
	return strconv.Itoa(c.Class) + "." + strconv.Itoa(c.Subject) + "." + strconv.Itoa(c.Detail)
}

// IsZero reports whether there is no code.
func (c EnhancedCode) IsZero() bool { return c == EnhancedCode{} }

// Valid reports whether the code is one RFC 3463, section 2, allows.
func (c EnhancedCode) Valid() bool {
	classOK := c.Class == 2 || c.Class == 4 || c.Class == 5
	return classOK && c.Subject >= 0 && c.Subject <= 999 && c.Detail >= 0 && c.Detail <= 999
}

// WithClass returns the code with another class: a 5.3.2 that is deferred is recorded as 4.3.2 (RFC 3464,
// section 2.3.4). The zero value stays zero.
func (c EnhancedCode) WithClass(class int) EnhancedCode {
	if c.IsZero() {
		return c
	}
	c.Class = class
	return c
}

// Proto returns the code as it stands in event.v1, nil for the zero value.
func (c EnhancedCode) Proto() *eventv1.EnhancedCode {
	if !c.Valid() {
		return nil
	}
	return &eventv1.EnhancedCode{Class: uint32(c.Class), Subject: uint32(c.Subject), Detail: uint32(c.Detail)}
}

// EnhancedFromProto returns the code of an event; nil and codes RFC 3463 does not allow give the zero value.
func EnhancedFromProto(p *eventv1.EnhancedCode) EnhancedCode {
	if p.GetClass() > 5 || p.GetSubject() > 999 || p.GetDetail() > 999 {
		return EnhancedCode{}
	}
	c := EnhancedCode{Class: int(p.GetClass()), Subject: int(p.GetSubject()), Detail: int(p.GetDetail())}
	if !c.Valid() {
		return EnhancedCode{}
	}
	return c
}

// ParseEnhanced reads the enhanced code at the beginning of a reply's text (RFC 2034, section 4). rest is the text
// behind the code and one space. Only a well-formed code counts: class 2, 4 or 5, one to three digits without leading
// zeros each (RFC 3463, section 2), then a space or the end. Otherwise ok is false and rest is text unaltered. It looks
// at no more than the first twelve bytes.
func ParseEnhanced(text string) (code EnhancedCode, rest string, ok bool) {
	if len(text) < 5 || text[1] != '.' || (text[0] != '2' && text[0] != '4' && text[0] != '5') {
		return EnhancedCode{}, text, false
	}
	code.Class = int(text[0] - '0')
	subject, after, ok := subCode(text[2:])
	if !ok || after == "" || after[0] != '.' {
		return EnhancedCode{}, text, false
	}
	detail, after, ok := subCode(after[1:])
	if !ok || (after != "" && after[0] != ' ') {
		return EnhancedCode{}, text, false
	}
	code.Subject, code.Detail = subject, detail
	return code, strings.TrimPrefix(after, " "), true
}

// subCode reads one to three digits without a leading zero.
func subCode(text string) (value int, rest string, ok bool) {
	n := 0
	for n < len(text) && n < 4 && text[n] >= '0' && text[n] <= '9' {
		value = value*10 + int(text[n]-'0')
		n++
	}
	if n == 0 || n > 3 || (n > 1 && text[0] == '0') {
		return 0, text, false
	}
	return value, text[n:], true
}
