// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// explained is a gateway that explains what a test wrote down.
type explained struct {
	gatewayv1.UnimplementedMailServiceServer
	decisions []*gatewayv1.Explanation
}

func (e *explained) ExplainMessage(_ context.Context, in *gatewayv1.ExplainMessageRequest) (*gatewayv1.ExplainMessageResponse, error) {
	e.decisions[0].Values["asked"] = in.GetMessageId()
	return &gatewayv1.ExplainMessageResponse{Decisions: e.decisions}, nil
}

func TestL09_ExplainPrintsEveryDecision(t *testing.T) {
	at := time.Date(2026, 11, 2, 9, 30, 0, 5e6, time.Local)
	addr := listen(t, func(s *grpc.Server) {
		gatewayv1.RegisterMailServiceServer(s, &explained{decisions: []*gatewayv1.Explanation{
			{Rule: "L-01", Decision: "no_loop", Subject: "message", Values: map[string]string{"received": "3"}, Limit: "100", Time: timestamppb.New(at), Text: "It came with 3."},
			{Rule: "L-03", Decision: "no_loop", Subject: "message", Values: map[string]string{"hop_number": "0"}, Limit: "100", Text: "Zero."},
			{Rule: "S-62", Decision: "bounce", Subject: "b@example.com", Text: "It said\x1b no."},
		}})
	})
	var text, errs bytes.Buffer
	if code := Main([]string{"explain", "01X", "--server", addr}, Streams{Out: &text, Err: &errs}); code != 0 {
		t.Fatalf("status %d: %s", code, errs.String())
	}
	want := "message 01X\n├─ message\n│  ├─ 09:30:00.005  L-01  no_loop  It came with 3.\n│  │  └─ asked 01X, received 3, limit 100\n" +
		"│  └─ L-03  no_loop  Zero.\n│     └─ hop number 0, limit 100\n└─ b@example.com\n   └─ S-62  bounce  It said? no.\n"
	if text.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", text.String(), want)
	}
	text.Reset()
	if code := Main([]string{"explain", "01X", "--json", "--server", addr}, Streams{Out: &text, Err: &errs}); code != 0 {
		t.Fatalf("status %d: %s", code, errs.String())
	}
	var got explainedJSON
	if err := json.Unmarshal(text.Bytes(), &got); err != nil || len(got.Decisions) != 3 || got.MessageID != "01X" {
		t.Fatalf("%v, %s", err, text.String())
	}
	if d := got.Decisions[0]; d.Rule != "L-01" || d.Limit != "100" || d.Values["received"] != "3" || d.Time == nil || !d.Time.Equal(at) {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(text.String(), `"values": {}`) {
		t.Errorf("no values are no object: %s", text.String())
	}
}

func TestExplainOfNobody(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main([]string{"explain", "01X", "--server", "127.0.0.1:1", "--json"}, Streams{Out: &out, Err: &errs}); code != 1 {
		t.Errorf("status %d", code)
	}
	var failed struct{ Error struct{ Reason string } }
	if err := json.Unmarshal(out.Bytes(), &failed); err != nil || failed.Error.Reason == "" {
		t.Errorf("%v, %s", err, out.String())
	}
}
