// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/kit/mailaddr"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// refusal is a reply to a command that is not in order.
type refusal struct {
	code     int
	enhanced string
	text     string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s %s", r.code, r.enhanced, r.text) }

func badSyntax(format string, args ...any) *refusal {
	return &refusal{501, "5.5.4", fmt.Sprintf(format, args...)}
}

// param is one ESMTP parameter (RFC 5321, section 4.1.2).
type param struct {
	name, value string
	valued      bool
}

// parsePath reads "FROM:<path> parameters" with its keyword and returns the path without its angle brackets.
func parsePath(argument, keyword string) (path string, params []param, err error) {
	if len(argument) < len(keyword) || !strings.EqualFold(argument[:len(keyword)], keyword) {
		return "", nil, badSyntax("%s<address> is missing", keyword)
	}
	rest := strings.TrimLeft(argument[len(keyword):], " ") // not in the grammar, but often seen
	end := pathEnd(rest)
	if end < 0 {
		return "", nil, badSyntax("the address must stand in angle brackets")
	}
	path, rest = rest[1:end], rest[end+1:]
	if !utf8.ValidString(path) {
		return "", nil, &refusal{553, "5.1.3", "the address is not UTF-8"}
	}
	if rest != "" && rest[0] != ' ' {
		return "", nil, badSyntax("a space must follow the address")
	}
	params, err = parseParams(rest)
	return path, params, err
}

// pathEnd returns the position of the closing bracket; one in a quoted string is a part of the address.
func pathEnd(text string) int {
	if text == "" || text[0] != '<' {
		return -1
	}
	quoted := false
	for i := 1; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

func parseParams(text string) ([]param, error) {
	var params []param
	for word := range strings.FieldsSeq(text) {
		name, value, valued := strings.Cut(word, "=")
		p := param{name: strings.ToUpper(name), value: value, valued: valued}
		for _, other := range params {
			if other.name == p.name {
				return nil, badSyntax("a parameter is given twice")
			}
		}
		params = append(params, p)
	}
	return params, nil
}

// mailParam takes one parameter of MAIL.
func (ss *session) mailParam(p param, tx *transaction) error {
	e := tx.envelope
	switch {
	case p.name == "SIZE" && p.valued:
		return ss.size(p.value)
	case p.name == "BODY" && p.valued:
		if body := strings.ToUpper(p.value); body != "7BIT" && body != "8BITMIME" {
			return badSyntax("BODY must be 7BIT or 8BITMIME")
		}
	case p.name == "SMTPUTF8" && !p.valued:
		tx.utf8 = true
	case p.name == "REQUIRETLS" && !p.valued:
		if !ss.tls {
			return &refusal{530, "5.7.10", "REQUIRETLS needs TLS here too"}
		}
		e.RequireTls = true
	case p.name == "RET" && p.valued:
		switch strings.ToUpper(p.value) {
		case "FULL":
			e.Ret = eventv1.Ret_RET_FULL
		case "HDRS":
			e.Ret = eventv1.Ret_RET_HDRS
		default:
			return badSyntax("RET must be FULL or HDRS")
		}
	case p.name == "ENVID" && p.valued:
		var err error
		if e.Envid, err = mailaddr.DecodeXText(p.value); err != nil || e.Envid == "" {
			return badSyntax("ENVID must be xtext")
		}
	case p.name == "AUTH" && p.valued: // RFC 4954, section 5: who first submitted it; not kept
		if _, err := mailaddr.DecodeXText(p.value); err != nil {
			return badSyntax("AUTH must be xtext")
		}
	default:
		return &refusal{555, "5.5.4", "a parameter of MAIL is not known"}
	}
	return nil
}

// size refuses at once what is known to be too large (RFC 1870, section 6.1).
func (ss *session) size(text string) error {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || len(text) > 20 {
		return badSyntax("SIZE must be a number")
	}
	if int64(n) > ss.s.o.MaxSize {
		return &refusal{552, "5.3.4", fmt.Sprintf("the message is larger than the limit of %d bytes", ss.s.o.MaxSize)}
	}
	return nil
}

// rcptParam takes one parameter of RCPT.
func rcptParam(p param, r *gatewayv1.Recipient) error {
	switch {
	case p.name == "NOTIFY" && p.valued:
		for word := range strings.SplitSeq(strings.ToUpper(p.value), ",") {
			n, known := eventv1.Notify_value["NOTIFY_"+word]
			if !known || word == "UNSPECIFIED" {
				return badSyntax("NOTIFY must be NEVER, or of SUCCESS, FAILURE and DELAY")
			}
			r.Notify = append(r.Notify, eventv1.Notify(n))
		}
	case p.name == "ORCPT" && p.valued:
		kind, address, _ := strings.Cut(p.value, ";")
		decode := mailaddr.DecodeXText
		if strings.EqualFold(kind, "utf-8") {
			decode = decodeUTF8Address
		}
		decoded, err := decode(address)
		if err != nil || kind == "" || decoded == "" {
			return badSyntax("ORCPT must be an address type, a semicolon and xtext")
		}
		r.Orcpt = kind + ";" + decoded
	default:
		return &refusal{555, "5.5.4", "a parameter of RCPT is not known"}
	}
	return nil
}

// decodeUTF8Address reads utf-8-addr-xtext and utf-8-addr-unitext: \x{HEX} stands for a character (RFC 6533, section 3).
func decodeUTF8Address(text string) (string, error) {
	var b strings.Builder
	for text != "" {
		plain, rest, escaped := strings.Cut(text, `\x{`)
		if !utf8.ValidString(plain) || strings.ContainsAny(plain, `\+=`) {
			return "", mailaddr.ErrXText
		}
		b.WriteString(plain)
		if !escaped {
			break
		}
		digits, after, closed := strings.Cut(rest, "}")
		char, err := strconv.ParseUint(digits, 16, 21)
		if !closed || err != nil || !utf8.ValidRune(rune(char)) || len(digits) > 6 {
			return "", mailaddr.ErrXText
		}
		b.WriteRune(rune(char))
		text = after
	}
	return b.String(), nil
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] > 127 {
			return false
		}
	}
	return true
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
