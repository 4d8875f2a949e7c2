// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Bounds of a transcript.
const (
	transcriptLines = 60  // the first and the last half are kept
	transcriptReply = 3   // lines of one reply
	transcriptLine  = 200 // octets of one line
)

// transcript notes commands and replies of a session, as they went over the wire, and makes lines of them only when
// somebody asks: most sessions are good ones.
type transcript struct {
	entries  []entry
	commands []byte // texts of all commands
	dropped  int
}

// entry is one command, reply or remark.
type entry struct {
	who      byte // C, S or *
	from, to int  // of a command: its place in commands
	text     string
	reply    rawReply
}

func (t *transcript) command(line []byte) {
	from := len(t.commands)
	t.commands = append(t.commands, line...)
	t.add(entry{who: 'C', from: from, to: len(t.commands)})
}

// reply keeps a reply as it is when it is short, as most are, and else its beginning.
func (t *transcript) reply(r rawReply) {
	kept := r.texts[:min(len(r.texts), transcriptReply+1)]
	long := len(kept) < len(r.texts)
	for _, text := range kept {
		long = long || len(text) > transcriptLine
	}
	if long {
		kept = slices.Clone(kept)
		for i, text := range kept {
			kept[i] = strings.Clone(text[:min(len(text), transcriptLine)])
		}
	}
	t.add(entry{who: 'S', reply: rawReply{code: r.code, texts: kept}})
}

// secret notes that something was said that is not told.
func (t *transcript) secret() { t.command([]byte("(credentials)")) }

func (t *transcript) note(text string) { t.add(entry{who: '*', text: text}) }

// add keeps the first and the last half of a long session.
func (t *transcript) add(e entry) {
	if len(t.entries) == transcriptLines {
		copy(t.entries[transcriptLines/2:], t.entries[transcriptLines/2+1:])
		t.entries[transcriptLines-1] = e
		t.dropped++
		return
	}
	t.entries = append(t.entries, e)
}

// mark is a point to which forget goes back.
func (t *transcript) mark() (entries, octets int) { return len(t.entries), len(t.commands) }

// forget drops what came behind a mark: a good transaction is not told.
func (t *transcript) forget(entries, octets int) {
	if t.dropped == 0 && entries < len(t.entries) {
		clear(t.entries[entries:])
		t.entries, t.commands = t.entries[:entries], t.commands[:octets]
	}
}

// lines gives the transcript, redacted.
func (t *transcript) lines() []string {
	lines := make([]string, 0, len(t.entries)+1)
	for i, e := range t.entries {
		if i == transcriptLines/2 && t.dropped > 0 {
			lines = append(lines, "* ("+strconv.Itoa(t.dropped)+" lines left out)")
		}
		lines = append(lines, t.line(e))
	}
	return lines
}

func (t *transcript) line(e entry) string {
	var text string
	switch e.who {
	case 'C':
		text = redact(strings.TrimSuffix(string(t.commands[e.from:e.to]), "\r\n"))
	case 'S':
		text = strconv.Itoa(e.reply.code)
		for i, line := range e.reply.texts {
			if i == transcriptReply {
				text += " …"
				break
			}
			text += " " + smtpreply.Clean(line)
		}
	default:
		text = e.text
	}
	if len(text) > transcriptLine {
		text = strings.ToValidUTF8(text[:transcriptLine], "") + "…"
	}
	return string(e.who) + ": " + text
}

// redact takes the local part out of a path and everything behind AUTH and its mechanism.
func redact(line string) string {
	if rest, auth := strings.CutPrefix(line, "AUTH "); auth {
		mechanism, _, _ := strings.Cut(rest, " ")
		return "AUTH " + mechanism + " …"
	}
	open := strings.IndexByte(line, '<')
	end := strings.LastIndexByte(line, '>')
	if open < 0 || end < open+1 {
		return smtpreply.Clean(line)
	}
	path, rest := line[open+1:end], smtpreply.Clean(line[end+1:])
	if before, _, found := strings.Cut(rest, " ORCPT="); found {
		rest = before + " ORCPT=…"
	}
	if at := strings.LastIndexByte(path, '@'); at >= 0 {
		path = "…" + smtpreply.Clean(path[at:])
	}
	return line[:open+1] + path + ">" + rest
}
