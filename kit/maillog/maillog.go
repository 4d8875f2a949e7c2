// SPDX-License-Identifier: Apache-2.0

// Package maillog writes the event lines an operator reads: one method for each thing that happens to a message, so that
// wording and fields never vary. Every line has message id, attempt and recipient domain. No line has a full address or
// content: text of remote hosts is shortened and its addresses are masked. Other log lines are the services' own.
package maillog

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

// maxText bounds remote text in a line, in bytes.
const maxText = 400

// Logger writes event lines. The zero value discards them.
type Logger struct{ log *slog.Logger }

// New returns a Logger that writes to log; nil discards.
func New(log *slog.Logger) Logger { return Logger{log: log} }

// Event is what a line tells. MessageID, Attempt and Domain always stand in the line, the rest when it is not zero.
type Event struct {
	// MessageID is the ULID of the message.
	MessageID string
	// Attempt is the number of the attempt, from 1; 0 before the first.
	Attempt int
	// Domain is the recipient domain. Of an address only the domain is written.
	Domain string
	// Recipients is how many recipients the event is about.
	Recipients int
	// Size is the size of the message in bytes.
	Size int64
	// Caller is the name of the token that handed the message in.
	Caller string
	// Host is the mail host, Address its IP address and port.
	Host    string
	Address string
	// TLS is the TLS version of the session.
	TLS string
	// Reply is the reply that decided.
	Reply smtpreply.Reply
	// Failure is why it did not work. Its reply is written when Reply is zero.
	Failure *smtpreply.Error
	// Reason is the machine-readable reason where there is no Failure.
	Reason string
	// Next is when the next attempt is due; of a notification that is told later, when that is.
	Next time.Time
	// Duration is how long it took.
	Duration time.Duration
	// Kind is the kind of a notification: failed, delayed, relayed.
	Kind string
	// Equal is how many equal messages came within an hour.
	Equal int
	// NotificationID is the message id of a notification.
	NotificationID string
}

// Accepted tells that a message is durable in the queue.
func (l Logger) Accepted(ctx context.Context, e Event) { l.write(ctx, slog.LevelInfo, "accepted", e) }

// Refused tells that a message or recipient was not taken.
func (l Logger) Refused(ctx context.Context, e Event) { l.write(ctx, slog.LevelInfo, "refused", e) }

// Attempted tells that one host was tried.
func (l Logger) Attempted(ctx context.Context, e Event) {
	l.write(ctx, slog.LevelInfo, "attempted", e)
}

// Deferred tells that recipients wait for a further attempt.
func (l Logger) Deferred(ctx context.Context, e Event) { l.write(ctx, slog.LevelInfo, "deferred", e) }

// Delivered tells that a host took responsibility.
func (l Logger) Delivered(ctx context.Context, e Event) {
	l.write(ctx, slog.LevelInfo, "delivered", e)
}

// Bounced tells that recipients failed for good.
func (l Logger) Bounced(ctx context.Context, e Event) { l.write(ctx, slog.LevelWarn, "bounced", e) }

// Expired tells that recipients failed because their time is over.
func (l Logger) Expired(ctx context.Context, e Event) { l.write(ctx, slog.LevelWarn, "expired", e) }

// Notified tells that a notification about the message was handed in.
func (l Logger) Notified(ctx context.Context, e Event) { l.write(ctx, slog.LevelInfo, "notified", e) }

// Throttled tells that a notification is told later, in a list, since there are too many of them (D-17). Its reason is the
// limit that was passed.
func (l Logger) Throttled(ctx context.Context, e Event) {
	l.write(ctx, slog.LevelInfo, "notify_throttled", e)
}

// Repeated tells that equal messages come again and again; this one was taken all the same.
func (l Logger) Repeated(ctx context.Context, e Event) { l.write(ctx, slog.LevelWarn, "repeated", e) }

func (l Logger) write(ctx context.Context, level slog.Level, event string, e Event) {
	if l.log == nil || !l.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("message_id", e.MessageID), slog.Int("attempt", e.Attempt), slog.String("domain", domainOf(e.Domain)))
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, smtpreply.Clean(value)))
		}
	}
	if e.Recipients > 0 {
		attrs = append(attrs, slog.Int("recipients", e.Recipients))
	}
	if e.Size > 0 {
		attrs = append(attrs, slog.Int64("size", e.Size))
	}
	text("caller", e.Caller)
	text("host", e.Host)
	text("address", e.Address)
	text("tls", e.TLS)
	reply := e.Reply
	if f := e.Failure; f != nil {
		if reply.Code == 0 {
			reply = f.Reply()
		}
		text("stage", f.Stage.String())
		text("status", f.RecordedStatus().String())
		text("reason", string(f.Reason))
		text("detail", mask(f.Detail))
	} else {
		text("reason", e.Reason)
	}
	text("reply", mask(reply.String()))
	if !e.Next.IsZero() {
		attrs = append(attrs, slog.Time("next_attempt_at", e.Next.UTC()))
	}
	if e.Duration > 0 {
		attrs = append(attrs, slog.Float64("duration_seconds", e.Duration.Seconds()))
	}
	text("kind", e.Kind)
	text("notification_id", e.NotificationID)
	if e.Equal > 0 {
		attrs = append(attrs, slog.Int("equal", e.Equal))
	}
	l.log.LogAttrs(ctx, level, event, attrs...)
}

// domainOf returns the part of an address that may be logged.
func domainOf(text string) string {
	return smtpreply.Clean(text[strings.LastIndexByte(text, '@')+1:])
}

// mask shortens text and replaces the local part of whatever looks like an address in it by "*".
func mask(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	if !strings.Contains(text, "@") {
		return text
	}
	var b strings.Builder
	for {
		at := strings.IndexByte(text, '@')
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:localStart(text[:at])])
		b.WriteString("*@")
		text = text[at+1:]
	}
}

// localStart returns where the local part at the end of text begins; a quoted one begins at its opening quote.
func localStart(text string) int {
	if strings.HasSuffix(text, `"`) {
		if open := strings.IndexByte(text, '"'); open < len(text)-1 {
			return open
		}
	}
	return strings.LastIndexAny(text, " \t<>(),;:[]\"") + 1
}
