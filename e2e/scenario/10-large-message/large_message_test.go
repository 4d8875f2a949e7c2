// SPDX-License-Identifier: Apache-2.0

package largemessage_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	zone = `
one.example  MX 10 mx.one.example
two.example  MX 10 mx.two.example
mx.one.example A 127.0.0.2
mx.two.example A 127.0.0.3
`
	size  = 12 << 20
	piece = 1 << 20
)

func TestLargeMessageArrivesWhole(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape) })
	}
}

func run(t *testing.T, shape suite.Shape) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	hosts := []*smtptest.Host{
		smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.one.example", Listener: listeners[0]}),
		smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.two.example", Listener: listeners[1]}),
	}
	s := suite.Start(t, shape, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": smtptest.Port(listeners[0]),
	}})
	content := message()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	submit(ctx, t, s.Mail(t), content)
	for _, host := range hosts {
		got := host.Wait(1, time.Minute)[0]
		if !bytes.HasSuffix(got.Data, content) {
			t.Errorf("%s: %d bytes arrived and do not end in the %d sent", host.Name(), len(got.Data), len(content))
		}
	}
}

func submit(ctx context.Context, t *testing.T, mail gatewayv1.MailServiceClient, content []byte) {
	t.Helper()
	stream, err := mail.SubmitStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: &gatewayv1.Envelope{
		Sender: "a@sender.example", Recipients: []*gatewayv1.Recipient{{Address: "b@one.example"}, {Address: "c@two.example"}},
	}}})
	for rest := content; err == nil && len(rest) > 0; {
		n := min(piece, len(rest))
		err = stream.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Content{Content: rest[:n]}})
		rest = rest[n:]
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if n := answer.GetAccepted().GetRecipients(); n != 2 {
		t.Errorf("%d recipients taken, want 2", n)
	}
}

// message is text of the size with lines of all lengths, some of which begin with dots.
func message() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteString("From: a@sender.example\r\nSubject: large\r\nMessage-ID: <large@sender.example>\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\n")
	for n := 0; b.Len() < size; n++ {
		line := bytes.Repeat([]byte{byte('a' + n%26)}, random.IntN(900))
		if n%7 == 0 {
			line = append([]byte("."), line...)
		}
		fmt.Fprintf(&b, "%s\r\n", line)
	}
	return b.Bytes()
}
