// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

// probed is a sender that answers Probe with what a test wrote down.
type probed struct {
	senderv1.UnimplementedSenderServiceServer
	steps []*senderv1.ProbeResponse
	err   error
	asked chan *senderv1.ProbeRequest
}

func (p *probed) Probe(in *senderv1.ProbeRequest, stream grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
	p.asked <- in
	for _, s := range p.steps {
		if err := stream.Send(s); err != nil {
			return err
		}
	}
	return p.err
}

func runProbe(t *testing.T, p *probed, args ...string) (status int, out, errs string) {
	t.Helper()
	p.asked = make(chan *senderv1.ProbeRequest, 1)
	address := listen(t, func(s *grpc.Server) { senderv1.RegisterSenderServiceServer(s, p) })
	var stdout, stderr bytes.Buffer
	status = Main(append([]string{"probe", "--server", address}, args...), Streams{Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func twoSteps(last *eventv1.Failure) []*senderv1.ProbeResponse {
	return []*senderv1.ProbeResponse{
		{
			Stage: eventv1.Stage_STAGE_EHLO, Host: "mx.test", Address: "192.0.2.1:25", Text: "the host offers 1 extension",
			Elapsed: durationpb.New(1500 * time.Millisecond), Reply: &eventv1.Reply{Code: 250, Lines: []string{"mx.test", "<SIZE>"}},
			Tls: &eventv1.TLSResult{Policy: "opportunistic", Version: "TLS 1.3", Finding: "odd"},
		},
		{Stage: eventv1.Stage_STAGE_QUIT, Host: "mx.test", Address: "192.0.2.1:25", Text: "the end", Failure: last},
	}
}

func TestProbePrintsStepsForPeople(t *testing.T) {
	p := &probed{steps: twoSteps(nil)}
	status, out, errs := runProbe(t, p, "example.test", "--mail-from", "a@x.test", "--rcpt-to", "b@example.test")
	want := `mx.test [192.0.2.1:25]
     1.500s    ehlo      the host offers 1 extension
                         250 mx.test
                         250 <SIZE>
     0.000s    quit      the end
`
	if status != 0 || out != want || errs != "" {
		t.Errorf("status %d, errors %q\n%s", status, errs, out)
	}
	if in := <-p.asked; in.GetDomain() != "example.test" || in.GetMailFrom() != "a@x.test" || in.GetRcptTo() != "b@example.test" {
		t.Errorf("asked %v", in)
	}
}

func TestProbePrintsOneObjectALine(t *testing.T) {
	refusal := &eventv1.Failure{Stage: eventv1.Stage_STAGE_GREETING, Status: &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 2}, Reason: "no_greeting", Detail: "silence"}
	code, out, _ := runProbe(t, &probed{steps: twoSteps(refusal)}, "example.test", "--json")
	if code != exitFailure {
		t.Errorf("status %d though no address can be used", code)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines\n%s", len(lines), out)
	}
	var first, second probeStepJSON
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(lines[1]), &second); err != nil {
		t.Fatal(err)
	}
	if first.ElapsedMS != 1500 || first.Stage != "ehlo" || first.Reply.Lines[1] != "<SIZE>" || first.TLS.Finding != "odd" || first.Failure != nil ||
		!strings.Contains(lines[0], "<SIZE>") {
		t.Errorf("first %s", lines[0])
	}
	if second.Failure == nil || second.Failure.Reason != "no_greeting" || second.Failure.Status != "4.4.2" || second.Reply != nil || second.TLS != nil {
		t.Errorf("second %s", lines[1])
	}
}

func TestProbeOfAServerThatIsNoSender(t *testing.T) {
	code, _, errs := runProbe(t, &probed{err: status.Error(codes.Unimplemented, "unknown service")}, "example.test")
	if code != exitFailure || !strings.Contains(errs, "NOT_THE_SENDER") || !strings.Contains(errs, "sender.listen") {
		t.Errorf("status %d, %s", code, errs)
	}
}

func TestProbeThatBreaksOffIsNoSuccess(t *testing.T) {
	code, out, errs := runProbe(t, &probed{steps: twoSteps(nil), err: status.Error(codes.DeadlineExceeded, "too long")}, "example.test")
	if code != exitFailure || !strings.Contains(out, "the end") || !strings.Contains(errs, "DEADLINE_EXCEEDED") {
		t.Errorf("status %d, %s, %s", code, out, errs)
	}
}
