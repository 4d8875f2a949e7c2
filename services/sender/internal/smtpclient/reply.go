// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"github.com/postrider/postrider/kit/smtpreply"
)

// Bounds of one reply (S-27). RFC 5321, section 4.5.3.1.5, asks for 512 octets a line; hosts send more.
const (
	maxReplyLine  = 4096     // octets of a line with its line end
	maxReplyBytes = 64 << 10 // octets of all lines
	maxReplyLines = 1000
	maxEhloLines  = 2000
)

// Bounds of what is kept of a reply that becomes part of an attempt record.
const (
	keepLines = 20
	keepBytes = 2048
)

// protocolError is input that is no SMTP reply, or one out of place. It never quotes the remote.
type protocolError struct{ detail string }

func (e *protocolError) Error() string { return e.detail }

// rawReply is a complete reply as it came, its texts not cleaned yet.
type rawReply struct {
	code  int
	texts []string
}

// replyParser puts the lines of one reply together (RFC 5321, section 4.2.1). The zero value is ready for the first
// line.
type replyParser struct {
	reply rawReply
	bytes int
}

// begun reports that lines of an unfinished reply were taken.
func (p *replyParser) begun() bool { return p.reply.code != 0 }

// line takes the next line, with its line end, of a reply of at most maxLines lines. done means that the reply is
// complete and take may be called. LF alone ends a line as well (S-17). After an error the parser is of no more use.
func (p *replyParser) line(b []byte, maxLines int) (done bool, err error) {
	p.bytes += len(b)
	if p.bytes > maxReplyBytes {
		return false, &protocolError{"reply over 64 KiB"}
	}
	if len(p.reply.texts) == maxLines {
		return false, &protocolError{"reply with too many lines"}
	}
	b = withoutLineEnd(b)
	code, ok := replyCode(b)
	if !ok {
		return false, &protocolError{"line without a reply code"}
	}
	if p.begun() && code != p.reply.code {
		return false, &protocolError{"reply with different codes in its lines"}
	}
	p.reply.code = code
	last, text := true, ""
	if len(b) > 3 {
		switch b[3] {
		case ' ':
		case '-':
			last = false
		default:
			return false, &protocolError{"reply code without a space or hyphen behind it"}
		}
		text = string(b[4:])
	}
	p.reply.texts = append(p.reply.texts, text)
	return last, nil
}

// take gives the complete reply and makes the parser ready for the next.
func (p *replyParser) take() rawReply {
	r := p.reply
	*p = replyParser{}
	return r
}

// withoutLineEnd takes CRLF or LF off.
func withoutLineEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}

// replyCode reads the three digits at the beginning of a reply line; the first is 2 to 5 (S-28).
func replyCode(b []byte) (code int, ok bool) {
	if len(b) < 3 || b[0] < '2' || b[0] > '5' || !isDigit(b[1]) || !isDigit(b[2]) {
		return 0, false
	}
	return int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0'), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parsed makes the reply that is told to others: enhanced code taken off, text cleaned (S-31). At positive greetings
// and answers to EHLO there is no enhanced code (RFC 2034, section 4).
func (r rawReply) parsed(stage smtpreply.Stage) smtpreply.Reply {
	texts := clip(r.texts)
	plain := stage == smtpreply.StageGreeting || stage == smtpreply.StageEhlo || stage == smtpreply.StageHelo
	if !plain || r.code >= 400 {
		return smtpreply.NewReply(r.code, texts)
	}
	lines := make([]string, len(texts))
	for i, text := range texts {
		lines[i] = smtpreply.Clean(text)
	}
	return smtpreply.Reply{Code: r.code, Lines: lines}
}

// clip bounds what is kept of a reply's text.
func clip(texts []string) []string {
	room := keepBytes
	for i, text := range texts {
		if i == keepLines || room <= 0 {
			return append(texts[:i:i], "(cut)")
		}
		if len(text) > room {
			return append(texts[:i:i], text[:room], "(cut)")
		}
		room -= len(text)
	}
	return texts
}
