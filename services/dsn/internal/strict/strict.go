// SPDX-License-Identifier: Apache-2.0

// Package strict reads a notification as an independent, unforgiving reader does, for tests: MIME by emersion/go-message
// and net/mail, the fields of RFC 3464 by rules of its own. It shares no code with what writes notifications.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
)

// Report is a notification as it was read.
type Report struct {
	Header message.Header
	// Types holds the media types of the parts, Text the decoded first one, Returned the decoded third one.
	Types    []string
	Text     string
	Status   []Group
	Returned string
	Boundary string
}

// Group is a group of fields of the status part, in order.
type Group []Field

// Field is one field, unfolded.
type Field struct{ Name, Value string }

// Get returns the values of a field, joined by "|" if it stands there more than once.
func (g Group) Get(name string) string {
	var values []string
	for _, f := range g {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return strings.Join(values, "|")
}

// Names returns the names of the fields.
func (g Group) Names() []string {
	names := make([]string, 0, len(g))
	for _, f := range g {
		names = append(names, f.Name)
	}
	return names
}

// Parse reads a notification and checks what every notification has to keep (RFC 5322, RFC 2045, RFC 6522, RFC 3464,
// RFC 6533). The error says what is not sound.
func Parse(content []byte) (r Report, problem error) {
	if err := checkLines(content); err != nil {
		return r, err
	}
	if _, err := mail.ReadMessage(bytes.NewReader(content)); err != nil {
		return r, fmt.Errorf("net/mail: %w", err)
	}
	entity, err := message.Read(bytes.NewReader(content))
	if err != nil {
		return r, fmt.Errorf("go-message: %w", err)
	}
	r.Header = entity.Header
	if r.Boundary, err = checkHeader(entity.Header); err != nil {
		return r, err
	}
	parts := entity.MultipartReader()
	if parts == nil {
		return r, errors.New("not a multipart")
	}
	for {
		child, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return r, fmt.Errorf("part %d: %w", len(r.Types), err)
		}
		kind, _, err := child.Header.ContentType()
		if err != nil {
			return r, fmt.Errorf("part %d: %w", len(r.Types), err)
		}
		body, err := io.ReadAll(child.Body)
		if err != nil {
			return r, fmt.Errorf("part %d: %w", len(r.Types), err)
		}
		if err := r.take(kind, string(body)); err != nil {
			return r, err
		}
	}
	if n := len(r.Types); n != 2 && n != 3 {
		return r, fmt.Errorf("%d parts", n)
	}
	return r, nil
}

func (r *Report) take(kind, body string) (err error) {
	at := len(r.Types)
	r.Types = append(r.Types, kind)
	known := [][]string{
		{"text/plain"},
		{"message/delivery-status", "message/global-delivery-status"},
		{"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"},
	}
	if at >= len(known) || !slices.Contains(known[at], kind) {
		return fmt.Errorf("part %d is %s", at, kind)
	}
	switch at {
	case 0:
		r.Text = body
	case 1:
		r.Status, err = statusGroups(body, kind == known[1][1])
	case 2:
		r.Returned = body
	}
	return err
}

// checkLines holds the message against RFC 5322, section 2.1.1, and RFC 5321, section 2.3.8.
func checkLines(content []byte) error {
	if !bytes.HasSuffix(content, []byte("\r\n")) {
		return errors.New("does not end in CRLF")
	}
	if bytes.IndexByte(content, 0) >= 0 {
		return errors.New("holds NUL")
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

// checkHeader refuses fields that a notification does not have, fields that stand there twice, and missing ones
// (rule D-14). It returns the boundary.
func checkHeader(h message.Header) (boundary string, err error) {
	at := 0
	var seen []string
	for fields := h.Fields(); fields.Next(); {
		next := slices.Index(headerOrder()[at:], fields.Key())
		if next < 0 {
			return "", fmt.Errorf("header field %q is unknown, double or out of order", fields.Key())
		}
		at += next + 1
		seen = append(seen, fields.Key())
	}
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-Id", "Auto-Submitted", "Mime-Version", "Content-Type"} {
		if !slices.Contains(seen, name) {
			return "", fmt.Errorf("no header field %s", name)
		}
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" || params["boundary"] == "" {
		return "", fmt.Errorf("Content-Type is %q %v: %w", kind, params, errors.Join(err, errors.New("not a report")))
	}
	return params["boundary"], nil
}

// statusGroups reads a status part strictly by RFC 3464, section 2.1: groups of fields, each group ended by one empty
// line or the end.
func statusGroups(body string, global bool) ([]Group, error) {
	var groups []Group
	var g Group
	body, ok := strings.CutSuffix(body, "\r\n")
	if !ok {
		return nil, errors.New("status part does not end in CRLF")
	}
	for i, line := range strings.Split(body, "\r\n") {
		switch {
		case line == "":
			if len(g) == 0 {
				return nil, fmt.Errorf("status line %d: empty group", i)
			}
			groups = append(groups, g)
			g = make(Group, 0, 8)
		case line[0] == ' ' || line[0] == '\t':
			if len(g) == 0 || strings.TrimSpace(line) == "" {
				return nil, fmt.Errorf("status line %d: bad folding", i)
			}
			g[len(g)-1].Value += line
		default:
			name, value, ok := strings.Cut(line, ": ")
			if !ok || !fieldName.MatchString(name) {
				return nil, fmt.Errorf("status line %d: no field: %q", i, line)
			}
			g = append(g, Field{name, value})
		}
	}
	groups = append(groups, g)
	return groups, checkGroups(groups, global)
}

var (
	fieldName = regexp.MustCompile(`^[A-Za-z][A-Za-z-]*$`)
	// statusCode is status-code of RFC 3464, section 2.3.4.
	statusCode = regexp.MustCompile(`^([245])\.(\d{1,3})\.(\d{1,3})$`)
	// typed is the type in front of an address (RFC 3464, section 2.3.2).
	typed = regexp.MustCompile(`^[A-Za-z0-9-]+; `)
	// diagnostic is a reply (RFC 3461, section 9.2).
	diagnostic = regexp.MustCompile(`^smtp; [2-5]\d\d[ -]?`)
)

// checkGroups refuses fields that the groups do not have (RFC 3464, sections 2.2 and 2.3), double and unordered ones, and
// values that are not in their form.
func checkGroups(groups []Group, global bool) error {
	perMessage := []string{"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"}
	perRecipient := []string{
		"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
		"Will-Retry-Until",
	}
	if len(groups) < 2 {
		return errors.New("no recipient")
	}
	for i, g := range groups {
		known, required := perRecipient, []string{"Final-Recipient", "Action", "Status"}
		if i == 0 {
			known, required = perMessage, []string{"Reporting-MTA"}
		}
		at := 0
		for _, name := range g.Names() {
			next := slices.Index(known[at:], name)
			if next < 0 {
				return fmt.Errorf("group %d: field %q is unknown, double or out of order", i, name)
			}
			at += next + 1
		}
		for _, name := range required {
			if !slices.Contains(g.Names(), name) {
				return fmt.Errorf("group %d: no %s", i, name)
			}
		}
		for _, f := range g {
			if err := f.check(g, global); err != nil {
				return fmt.Errorf("group %d: %w", i, err)
			}
		}
	}
	return nil
}

// check holds one field against its form.
func (f Field) check(g Group, global bool) error {
	ok := true
	switch f.Name {
	case "Arrival-Date", "Last-Attempt-Date", "Will-Retry-Until":
		_, err := mail.ParseDate(f.Value)
		ok = err == nil
	case "Reporting-MTA", "Remote-MTA":
		ok = strings.HasPrefix(f.Value, "dns; ") && !strings.ContainsAny(f.Value[5:], " \t")
	case "Final-Recipient", "Original-Recipient":
		ok = typed.MatchString(f.Value)
	case "Diagnostic-Code":
		ok = diagnostic.MatchString(f.Value) && len(f.Value) <= 1200 && g.Get("Remote-MTA")+g.Get("Diagnostic-Code") != ""
	case "Action":
		ok = slices.Contains([]string{"failed", "delayed", "delivered", "relayed", "expanded"}, f.Value)
	case "Status":
		ok = fits(g.Get("Action"), f.Value)
	}
	if g.Get("Will-Retry-Until") != "" && g.Get("Action") != "delayed" {
		ok = false
	}
	if !ok || !utf8.ValidString(f.Value) || strings.ContainsFunc(f.Value, isControl) || !global && strings.ContainsFunc(f.Value, notASCII) {
		return fmt.Errorf("%s: %q is not in its form", f.Name, f.Value)
	}
	return nil
}

// fits holds the class of a status against the action (rule D-11).
func fits(action, status string) bool {
	code := statusCode.FindStringSubmatch(status)
	if code == nil {
		return false
	}
	switch action {
	case "failed":
		return code[1] == "5" || status == "4.4.7"
	case "delayed":
		return code[1] == "4"
	default:
		return code[1] == "2"
	}
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
func notASCII(r rune) bool  { return r >= utf8.RuneSelf }
