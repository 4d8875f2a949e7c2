// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

// previewed answers Preview with what a test wrote down.
type previewed struct {
	dsnv1.UnimplementedDsnServiceServer
	asked  *dsnv1.PreviewRequest
	answer *dsnv1.PreviewResponse
	err    error
}

func (p *previewed) Preview(_ context.Context, in *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	p.asked = in
	return p.answer, p.err
}

func runPreview(t *testing.T, register func(*grpc.Server), args ...string) (code int, out, errs string) {
	t.Helper()
	address := listen(t, register)
	var stdout, stderr bytes.Buffer
	code = Main(append([]string{"dsn", "preview", "--server", address, "01J"}, args...), Streams{Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func aPreview() *previewed {
	return &previewed{answer: &dsnv1.PreviewResponse{Decisions: []*dsnv1.Decision{
		{
			OutcomeId: "01J.1.1", Kind: dsnv1.Kind_KIND_FAILED, Due: true, Reason: "due", Addresses: []string{"bob@x.example"},
			EnvelopeRecipient: "anna@x.example", IdempotencyKey: "dsn/01J.1.1/failed", Message: []byte("Subject: x\r\n\r\nbody\r\n"),
			DecidedAt: timestamppb.Now(),
		},
		{OutcomeId: "01J.1.1", Kind: dsnv1.Kind_KIND_DELAYED, Reason: "delay_not_due", Addresses: []string{"eve@x.example"}},
		{OutcomeId: "01J.1.2", Kind: dsnv1.Kind_KIND_RELAYED, Reason: "a_word_of_tomorrow", Addresses: []string{"eve@x.example"}},
	}}}
}

func TestPreviewForPeople(t *testing.T) {
	p := aPreview()
	register := func(s *grpc.Server) { dsnv1.RegisterDsnServiceServer(s, p) }
	code, out, errs := runPreview(t, register)
	if code != 0 || p.asked.GetId() != "01J" || strings.Count(out, "outcome 01J.1.1") != 1 || strings.Contains(out, "Subject") {
		t.Errorf("status %d, asked %v\n%s%s", code, p.asked, out, errs)
	}
	for _, want := range []string{
		"a failed notification about bob@x.example to anna@x.example", "key dsn/01J.1.1/failed",
		"no delayed notification about eve@x.example: delivery goes on, and it is not time for a notice of delay (delay_not_due)",
		"outcome 01J.1.2", "a reason this program does not know (a_word_of_tomorrow)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if _, out, _ = runPreview(t, register, "--message"); !strings.Contains(out, "    | Subject: x\n    | \n    | body\n") {
		t.Errorf("the message is not shown:\n%s", out)
	}
}

func TestPreviewAsJSON(t *testing.T) {
	p := aPreview()
	_, out, _ := runPreview(t, func(s *grpc.Server) { dsnv1.RegisterDsnServiceServer(s, p) }, "--json")
	var got previewJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	d := got.Decisions
	if len(d) != 3 || !d[0].Due || d[0].Kind != "failed" || d[0].Message != "Subject: x\r\n\r\nbody\r\n" || d[0].DecidedAt == nil ||
		d[1].Due || d[1].Reason != "delay_not_due" || d[1].Recipients[0] != "eve@x.example" || d[1].DecidedAt != nil {
		t.Errorf("got %+v", got)
	}
}

func TestPreviewFails(t *testing.T) {
	p := &previewed{err: status.Error(codes.NotFound, "no outcome of this id is kept")}
	if code, _, errs := runPreview(t, func(s *grpc.Server) { dsnv1.RegisterDsnServiceServer(s, p) }); code != 1 || !strings.Contains(errs, "NOT_FOUND") {
		t.Errorf("status %d: %s", code, errs)
	}
	code, out, _ := runPreview(t, func(*grpc.Server) {}, "--json")
	if code != 1 || !strings.Contains(out, "NOT_THE_DSN_SERVICE") || !strings.Contains(out, "dsn.listen") {
		t.Errorf("status %d: %s", code, out)
	}
}
