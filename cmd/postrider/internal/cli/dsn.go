// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

type dsnCommands struct {
	Preview dsnPreviewCommand `cmd:"" help:"Show which notification each outcome of a message makes, or why it makes none."`
}

type dsnPreviewCommand struct {
	client.Options
	ID      string `arg:"" help:"Id of a message, or of one of its outcomes (MESSAGE.PART.ATTEMPT)."`
	Message bool   `help:"Print the notifications themselves too."`
}

// previewJSON is what `postrider dsn preview --json` prints.
type previewJSON struct {
	Decisions []previewDecision `json:"decisions"`
}

type previewDecision struct {
	OutcomeID         string     `json:"outcome_id"`
	DecidedAt         *time.Time `json:"decided_at,omitempty"`
	Kind              string     `json:"kind"`
	Due               bool       `json:"due"`
	Reason            string     `json:"reason"`
	Recipients        []string   `json:"recipients"`
	EnvelopeRecipient string     `json:"envelope_recipient,omitempty"`
	IdempotencyKey    string     `json:"idempotency_key,omitempty"`
	Message           string     `json:"message,omitempty"`
}

func (c *dsnPreviewCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		preview, err := dsnv1.NewDsnServiceClient(conn).Preview(ctx, &dsnv1.PreviewRequest{Id: c.ID})
		if err != nil {
			return dsnError(err)
		}
		if c.JSON {
			client.WriteJSON(streams.Out, previewAsJSON(preview))
			return nil
		}
		writePreview(streams.Out, preview, c.Message)
		return nil
	})
}

// dsnError says where to turn when the server asked is one of four processes, and not the dsn service.
func dsnError(err error) error {
	if rpc.FromError(err).Code != codes.Unimplemented {
		return err
	}
	return &rpc.Error{
		Code: codes.Unimplemented, Reason: "NOT_THE_DSN_SERVICE", Err: err,
		Message: "The server asked is not the dsn service. Where the services are processes of their own, give --server the address of dsn.listen.",
	}
}

func previewAsJSON(r *dsnv1.PreviewResponse) previewJSON {
	out := previewJSON{Decisions: []previewDecision{}}
	for _, d := range r.GetDecisions() {
		one := previewDecision{
			OutcomeID: d.GetOutcomeId(), Kind: kindWord(d.GetKind()), Due: d.GetDue(), Reason: d.GetReason(),
			Recipients: append([]string{}, d.GetAddresses()...), EnvelopeRecipient: d.GetEnvelopeRecipient(),
			IdempotencyKey: d.GetIdempotencyKey(), Message: string(d.GetMessage()),
		}
		if d.GetDecidedAt() != nil {
			at := d.GetDecidedAt().AsTime()
			one.DecidedAt = &at
		}
		out.Decisions = append(out.Decisions, one)
	}
	return out
}

func writePreview(w io.Writer, r *dsnv1.PreviewResponse, messages bool) {
	outcome := ""
	for _, d := range r.GetDecisions() {
		if d.GetOutcomeId() != outcome {
			outcome = d.GetOutcomeId()
			fmt.Fprintf(w, "outcome %s", outcome)
			if d.GetDecidedAt() != nil {
				fmt.Fprintf(w, "  %s", d.GetDecidedAt().AsTime().Local().Format("2006-01-02 15:04:05"))
			}
			fmt.Fprintln(w)
		}
		about := strings.Join(d.GetAddresses(), ", ")
		if !d.GetDue() {
			fmt.Fprintf(w, "  no %s notification about %s: %s (%s)\n", kindWord(d.GetKind()), about, why(d.GetReason()), d.GetReason())
			continue
		}
		fmt.Fprintf(w, "  a %s notification about %s to %s\n", kindWord(d.GetKind()), about, d.GetEnvelopeRecipient())
		fmt.Fprintf(w, "    key %s, %d bytes\n", d.GetIdempotencyKey(), len(d.GetMessage()))
		if messages {
			text := bytes.ReplaceAll(bytes.TrimRight(d.GetMessage(), "\r\n"), []byte("\r\n"), []byte("\n    | "))
			fmt.Fprintf(w, "    | %s\n", text)
		}
	}
}

// kindWord is a kind as it stands in the Action field (RFC 3464, section 2.3.3).
func kindWord(k dsnv1.Kind) string {
	return strings.ToLower(strings.TrimPrefix(strings.Replace(k.String(), "KIND_UNSPECIFIED", "", 1), "KIND_"))
}

// why explains a reason to a person.
func why(reason string) string {
	reason, _, _ = strings.Cut(reason, ":")
	words := map[string]string{
		"null_sender":       "the message has no return address",
		"own_notification":  "the message is a notification itself",
		"notify_never":      "the sender asked for none (NOTIFY=NEVER)",
		"not_requested":     "the sender did not ask for this kind (NOTIFY)",
		"passed_on":         "the next host sends it, it was given the sender's wishes",
		"notify_throttled":  "too many of them; it is told in a list at the end of dsn.throttle.window",
		"delay_not_due":     "delivery goes on, and it is not time for a notice of delay",
		"cancelled_quietly": "the message was cancelled without a notice",
		"held":              "the message is held",
		"not_settled":       "nothing is settled",
		"impossible":        "none can be made of this outcome",
	}
	if text, known := words[reason]; known {
		return text
	}
	return "for a reason this program does not know"
}
