// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
)

func TestDeliversOverSMTPAndStoresWhatCameOfEachRecipient(t *testing.T) {
	h := newHarness(t)
	reader := sdkmetric.NewManualReader()
	h.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	host := h.host("example.test", smtptest.HostOptions{OnRcpt: func(address string, _ []string) string {
		switch {
		case strings.HasPrefix(address, "nobody"):
			return "550 5.1.1 no such user"
		case strings.HasPrefix(address, "later"):
			return "450 4.2.1 try again"
		}
		return ""
	}})
	h.start()
	body := h.submit("m1", "example.test", "somebody", "nobody", "later")
	o := h.await("m1", 1)[0]
	got := host.Wait(1, patience)[0]
	if string(got.Data) != body {
		t.Errorf("the host received %q", got.Data)
	}
	want := []eventv1.RecipientState{delivered, bounced, deferred}
	for i, r := range o.GetResults() {
		if r.GetState() != want[i] {
			t.Errorf("recipient %d: %s", i, r.GetState())
		}
	}
	if o.GetPause().AsDuration() != 5*time.Minute || o.GetSource().GetStream() != bus.StreamMail {
		t.Errorf("pause %s, source %v", o.GetPause().AsDuration(), o.GetSource())
	}
	h.eventually("the deferred recipient in RETRY_5", func() bool {
		last, err := bus.LastSequences(h.ctx, h.js, bus.RetryStream(5))
		h.must(err)
		return last.Sequence == 2 // behind the takeover
	})
	var data metricdata.ResourceMetrics
	h.eventually("the move to be counted, once its acknowledgement is there", func() bool {
		h.must(reader.Collect(h.ctx, &data))
		return sum(data, "postrider.queue.moves") > 0
	})
	if n := sum(data, "postrider.sender.results"); n != 3 {
		t.Errorf("postrider.sender.results is %d", n)
	}
	h.eventually("the session to be ended when it was idle for a while", func() bool {
		h.must(reader.Collect(h.ctx, &data))
		return sum(data, "postrider.smtp.connections") == 0
	})
	if n := sum(data, "postrider.queue.moves"); n != 1 {
		t.Errorf("postrider.queue.moves is %d", n)
	}
}

func sum(data metricdata.ResourceMetrics, name string) (total int64) {
	for _, s := range data.ScopeMetrics {
		for _, m := range s.Metrics {
			if points, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
				for _, p := range points.DataPoints {
					total += p.Value
				}
			}
		}
	}
	return total
}

func TestS12_SecondHostGetsTheMailWhenTheFirstStaysSilent(t *testing.T) {
	h := newHarness(t)
	h.config.Timeouts.Greeting = h.config.Timeouts.Rset / 100 // 200 ms
	h.host("example.test", smtptest.HostOptions{SilentGreeting: true})
	second := h.host("example.test", smtptest.HostOptions{})
	h.start()
	h.submit("m1", "example.test", "somebody")
	second.Wait(1, patience)
	o := h.await("m1", 1)[0]
	hosts := o.GetAttempt().GetHosts()
	if len(hosts) != 2 || hosts[0].GetFailure().GetReason() != "no_greeting" || o.GetResults()[0].GetState() != delivered {
		t.Errorf("%v", o)
	}
}

func TestQ09_MailLeftByARestartIsDelivered(t *testing.T) {
	h := newHarness(t)
	first := h.start()
	first.stop()
	h.submit("m1", "example.test", "somebody")
	host := h.host("example.test", smtptest.HostOptions{})
	h.start()
	host.Wait(1, patience)
	if o := h.await("m1", 1); o[0].GetResults()[0].GetPossibleDuplicate() {
		t.Error("marked after an orderly stop")
	}
}

func TestReadyOnlyWithTheQueueThere(t *testing.T) {
	h := newHarness(t)
	conn := h.server.Connect()
	h.server.Stop()
	service, err := sender.New(h.ctx, h.config, h.env(conn))
	h.must(err)
	ctx, cancel := context.WithCancel(h.ctx)
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
		t.Error("ready without a queue")
	case <-time.After(200 * time.Millisecond):
	}
	h.server.StartAgain()
	select {
	case <-ready:
	case <-time.After(patience):
		t.Error("not ready with the queue there")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestLanesAreListed(t *testing.T) {
	h := newHarness(t)
	release := make(chan struct{})
	h.host("slow.test", smtptest.HostOptions{OnConnect: func(*smtptest.ConnInfo) string { <-release; return "" }})
	h.config.Connections = 1
	r := h.start()
	for _, id := range []string{"m1", "m2", "m3"} {
		h.submit(id, "slow.test", "somebody")
	}
	client := serve(t, r)
	h.eventually("the lane", func() bool {
		resp, err := client.ListLanes(h.ctx, &senderv1.ListLanesRequest{Site: "slow.test"})
		h.must(err)
		lanes := resp.GetLanes()
		return len(lanes) == 1 && lanes[0].GetWaiting() == 1 && lanes[0].GetRunning() == 2 && // one of them waits to ride
			lanes[0].GetConnections() == 1 && lanes[0].GetConnectionLimit() == 1
	})
	close(release)
	h.await("m3", 1)
}

// A probe is no mail: it goes up to RCPT at a host that is there, and comes back for a domain that is not.
func TestProbeIsAnswered(t *testing.T) {
	h := newHarness(t)
	host := h.host("there.test", smtptest.HostOptions{})
	client := serve(t, h.start())
	stream, err := client.Probe(h.ctx, &senderv1.ProbeRequest{Domain: "there.test", RcptTo: "somebody@there.test"})
	h.must(err)
	var last *senderv1.ProbeResponse
	for {
		step, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		h.must(err)
		last = step
	}
	if last.GetStage() != eventv1.Stage_STAGE_QUIT || last.GetFailure() != nil || host.Counts().Messages != 0 {
		t.Errorf("last step %v, %d messages", last, host.Counts().Messages)
	}
	stream, err = client.Probe(h.ctx, &senderv1.ProbeRequest{Domain: "nowhere.test"})
	h.must(err)
	if step, err := stream.Recv(); err != nil || step.GetFailure().GetReason() != "no_such_domain" {
		t.Errorf("step %v, %v", step, err)
	}
	stream, err = client.Probe(h.ctx, &senderv1.ProbeRequest{})
	h.must(err)
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without a domain: %v", err)
	}
}

func serve(t *testing.T, r *running) senderv1.SenderServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	r.service.Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return senderv1.NewSenderServiceClient(conn)
}

func TestNeedsNATS(t *testing.T) {
	h := newHarness(t)
	if _, err := sender.New(h.ctx, h.config, h.env(nil)); err == nil {
		t.Error("built without a NATS connection")
	}
}

// The crash table's "NATS away during open transactions": what was sent is settled when the server is back, and sent once.
func TestQ11_QueueAwayLongerThanTheLeaseDuringTransactions(t *testing.T) {
	h := newHarness(t)
	h.leaseTTL = time.Second
	inDot, release := make(chan struct{}, 10), make(chan struct{})
	host := h.host("example.test", smtptest.HostOptions{OnDot: func(*smtptest.Message) string {
		inDot <- struct{}{}
		<-release
		return ""
	}})
	h.start()
	for _, id := range []string{"m1", "m2"} {
		h.submit(id, "example.test", "somebody")
	}
	for range 2 { // as many as a site takes at first
		<-inDot
	}
	h.server.Stop()
	stopped := time.Now()
	h.eventually("the lease has run out", func() bool { return time.Since(stopped) > h.leaseTTL })
	close(release)
	host.Wait(2, patience)
	h.server.StartAgain()
	for _, id := range []string{"m1", "m2"} {
		o := h.await(id, 1)
		if len(o) != 1 || o[0].GetResults()[0].GetState() != delivered {
			t.Errorf("%s: %v", id, o)
		}
	}
	h.submit("m3", "example.test", "somebody")
	h.await("m3", 1)
	if n := len(host.Messages()); n != 3 {
		t.Errorf("the host received %d messages, want 3", n)
	}
}
