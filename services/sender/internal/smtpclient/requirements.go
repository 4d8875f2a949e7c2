// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
)

// CanTake says whether m may go to this host by what it offered: its size limit (S-45), 8BITMIME (S-67), SMTPUTF8
// (S-68), REQUIRETLS (S-41). Nothing is sent. A failure at smtpreply.StageLocal is one of the message itself.
func (c *Conn) CanTake(m *Message) *smtpreply.Error {
	if fail := checkEnvelope(m); fail != nil {
		return fail
	}
	lacking := func(reason smtpreply.Reason, detail string) *smtpreply.Error {
		return &smtpreply.Error{Stage: smtpreply.StageEhlo, Reason: reason, Detail: detail}
	}
	if limit := c.ext.MaxSize; limit > 0 && m.Size > limit {
		return lacking(smtpreply.ReasonSize,
			fmt.Sprintf("the message has %d octets and the host takes at most %d", m.Size, limit))
	}
	// Nothing is known of a host that only answers HELO: it gets 8-bit content as it is.
	if m.EightBit && !c.ext.EightBitMIME && !c.helo {
		return lacking(smtpreply.ReasonEightBit, "the content is 8-bit and the host does not offer 8BITMIME")
	}
	if m.RequireTLS && !c.ext.RequireTLS {
		return lacking(smtpreply.ReasonRequireTLSKeyword, "the message demands REQUIRETLS and the host does not offer it")
	}
	if !c.ext.SMTPUTF8 && needsUTF8(m) {
		only, err := domainsOnly(m)
		switch {
		case err != nil:
			return &smtpreply.Error{Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonInternal, Err: err}
		case !only:
			return lacking(smtpreply.ReasonSMTPUTF8, "an address or header field is not ASCII and the host does not offer SMTPUTF8")
		}
	}
	return nil
}

// checkEnvelope refuses addresses and parameters that could become commands of their own. The gateway lets none in.
func checkEnvelope(m *Message) *smtpreply.Error {
	bad := unfitPath(m.From) || unfit(m.Ret)
	for i := range m.Recipients {
		r := &m.Recipients[i]
		bad = bad || r.Address == "" || unfitPath(r.Address) || unfit(r.Notify) || unfit(r.ORcptType)
	}
	if !bad && len(m.Recipients) > 0 {
		return nil
	}
	return &smtpreply.Error{
		Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonInternal, Status: smtpreply.Code(5, 1, 3),
		Err: errors.New("smtpclient: an envelope address or parameter cannot be sent"),
	}
}

// unfitPath reports an address that cannot stand between angle brackets. Quoted local parts may hold blanks.
func unfitPath(address string) bool {
	quoted := false
	for i := range len(address) {
		switch b := address[i]; {
		case b < ' ' || b == 0x7f:
			return true
		case b == '"' && (i == 0 || address[i-1] != '\\'):
			quoted = !quoted
		case !quoted && (b == '<' || b == '>' || b == ' '):
			return true
		}
	}
	return false
}

// unfit reports a parameter value with a blank or control byte.
func unfit(value string) bool {
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			return true
		}
	}
	return false
}

// needsUTF8 reports a message that SMTPUTF8 was made for.
func needsUTF8(m *Message) bool {
	need := m.UTF8 || !isASCII(m.From)
	for i := range m.Recipients {
		need = need || !isASCII(m.Recipients[i].Address)
	}
	return need
}

// domainsOnly reports that A-labels meet the whole need: no local part and no header field is other than ASCII (RFC
// 6531, section 3.2).
func domainsOnly(m *Message) (bool, error) {
	if !asciiLocal(m.From) {
		return false, nil
	}
	for i := range m.Recipients {
		if !asciiLocal(m.Recipients[i].Address) {
			return false, nil
		}
	}
	if !m.UTF8 || m.HeaderSize == 0 {
		return !m.UTF8, nil
	}
	return asciiHeader(m)
}

func asciiLocal(address string) bool {
	if isASCII(address) {
		return true
	}
	a, err := mailaddr.Parse(address)
	if err != nil {
		return false
	}
	_, ok := a.ToASCII()
	return ok
}

// asciiHeader looks through the header block.
func asciiHeader(m *Message) (bool, error) {
	if _, err := m.Body.Seek(0, io.SeekStart); err != nil {
		return false, fmt.Errorf("rewind the content: %w", err)
	}
	var header bytes.Buffer
	if _, err := io.CopyN(&header, m.Body, min(m.HeaderSize, m.Size)); err != nil {
		return false, fmt.Errorf("read the header block: %w", err)
	}
	return isASCII(header.String()), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
