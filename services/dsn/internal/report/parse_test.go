// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message"
)

// parsed is a notification as an independent reader sees it.
type parsed struct {
	header message.Header
	// types holds the media types of the parts, text the decoded first one, returned the decoded third one.
	types    []string
	text     string
	status   []group
	returned string
	raw      []byte
}

// group is a group of fields of the status part, in order.
type group []field

type field struct{ name, value string }

// get returns the value of a field and fails when it stands there more than once.
func (g group) get(t *testing.T, name string) string {
	t.Helper()
	var values []string
	for _, f := range g {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	if len(values) > 1 {
		t.Errorf("field %s stands there %d times", name, len(values))
	}
	return strings.Join(values, "|")
}

func (g group) names() []string {
	var names []string
	for _, f := range g {
		names = append(names, f.name)
	}
	return names
}

// parse reads a notification with emersion/go-message, and its header with net/mail, and checks what every notification
// has to keep (RFC 5322, RFC 2045, RFC 6522). problem is nil for a sound one.
func parse(content []byte) (p parsed, problem error) {
	p.raw = content
	if err := checkLines(content); err != nil {
		return p, err
	}
	if _, err := mail.ReadMessage(bytes.NewReader(content)); err != nil {
		return p, fmt.Errorf("net/mail: %w", err)
	}
	entity, err := message.Read(bytes.NewReader(content))
	if err != nil {
		return p, fmt.Errorf("go-message: %w", err)
	}
	p.header = entity.Header
	if err := checkHeader(entity.Header); err != nil {
		return p, err
	}
	parts := entity.MultipartReader()
	if parts == nil {
		return p, fmt.Errorf("not a multipart")
	}
	for {
		child, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return p, fmt.Errorf("part %d: %w", len(p.types), err)
		}
		kind, _, err := child.Header.ContentType()
		if err != nil {
			return p, fmt.Errorf("part %d: %w", len(p.types), err)
		}
		body, err := io.ReadAll(child.Body)
		if err != nil {
			return p, fmt.Errorf("part %d: %w", len(p.types), err)
		}
		if err := p.take(kind, string(body)); err != nil {
			return p, err
		}
	}
	if n := len(p.types); n != 2 && n != 3 {
		return p, fmt.Errorf("%d parts", n)
	}
	return p, nil
}

func (p *parsed) take(kind, body string) (err error) {
	switch len(p.types) {
	case 0:
		p.text = body
	case 1:
		p.status, err = statusGroups(body)
	case 2:
		p.returned = body
	}
	p.types = append(p.types, kind)
	return err
}

// checkLines holds the message against RFC 5322, section 2.1.1, and RFC 5321, section 2.3.8.
func checkLines(content []byte) error {
	if !bytes.HasSuffix(content, []byte("\r\n")) {
		return fmt.Errorf("does not end in CRLF")
	}
	if bytes.IndexByte(content, 0) >= 0 {
		return fmt.Errorf("holds NUL")
	}
	for i, line := range bytes.Split(content, []byte("\r\n")) {
		if len(line) > 998 {
			return fmt.Errorf("line %d has %d octets", i, len(line))
		}
		if bytes.ContainsAny(line, "\r\n") {
			return fmt.Errorf("line %d has a bare CR or LF", i)
		}
	}
	return nil
}

// headerOrder is every header field of a notification, in order. No other may appear, whatever the input.
func headerOrder() []string {
	return []string{
		"From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "Mime-Version",
		"Content-Type", "Content-Transfer-Encoding",
	}
}

// checkHeader refuses fields that a notification does not have, and fields that stand there twice.
func checkHeader(h message.Header) error {
	at := 0
	for fields := h.Fields(); fields.Next(); {
		next := slices.Index(headerOrder()[at:], fields.Key())
		if next < 0 {
			return fmt.Errorf("header field %q is unknown, double or out of order", fields.Key())
		}
		at += next + 1
	}
	kind, params, err := h.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		return fmt.Errorf("Content-Type is %q %v: %w", kind, params, errors.Join(err, errors.New("not a report")))
	}
	return nil
}

// statusGroups reads a status part strictly by RFC 3464, section 2.1: groups of fields, each group ended by one empty
// line or the end.
func statusGroups(body string) ([]group, error) {
	var groups []group
	var g group
	body, ok := strings.CutSuffix(body, "\r\n")
	if !ok {
		return nil, fmt.Errorf("status part does not end in CRLF")
	}
	for i, line := range strings.Split(body, "\r\n") {
		switch {
		case line == "":
			if len(g) == 0 {
				return nil, fmt.Errorf("status line %d: empty group", i)
			}
			groups, g = append(groups, g), nil
		case line[0] == ' ' || line[0] == '\t':
			if len(g) == 0 || strings.TrimSpace(line) == "" {
				return nil, fmt.Errorf("status line %d: bad folding", i)
			}
			g[len(g)-1].value += line
		default:
			name, value, ok := strings.Cut(line, ": ")
			if !ok || !isAtom(name) {
				return nil, fmt.Errorf("status line %d: no field: %q", i, line)
			}
			g = append(g, field{name, value})
		}
	}
	groups = append(groups, g)
	return groups, checkGroups(groups)
}

// checkGroups refuses fields that the groups do not have (RFC 3464, sections 2.2 and 2.3), double and unordered ones.
func checkGroups(groups []group) error {
	perMessage := []string{"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"}
	perRecipient := []string{
		"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
		"Will-Retry-Until",
	}
	for i, g := range groups {
		known, required := perRecipient, []string{"Final-Recipient", "Action", "Status"}
		if i == 0 {
			known, required = perMessage, []string{"Reporting-MTA"}
		}
		at := 0
		for _, name := range g.names() {
			next := slices.Index(known[at:], name)
			if next < 0 {
				return fmt.Errorf("group %d: field %q is unknown, double or out of order", i, name)
			}
			at += next + 1
		}
		for _, name := range required {
			if !slices.Contains(g.names(), name) {
				return fmt.Errorf("group %d: no %s", i, name)
			}
		}
	}
	return nil
}

// mustParse parses a notification that has to be sound.
func mustParse(t *testing.T, content []byte) parsed {
	t.Helper()
	p, err := parse(content)
	if err != nil {
		t.Fatalf("notification is not sound: %v\n%s", err, content)
	}
	return p
}

// boundary returns the boundary of a notification.
func boundary(t *testing.T, p parsed) string {
	t.Helper()
	_, params, err := mime.ParseMediaType(p.header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	return params["boundary"]
}
