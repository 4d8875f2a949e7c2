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
	size = 12 << 20
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
	suite.Submit(ctx, t, s.Mail(t), content, "a@sender.example", "b@one.example", "c@two.example")
	for _, host := range hosts {
		got := host.Wait(1, time.Minute)[0]
		if !bytes.HasSuffix(got.Data, content) {
			t.Errorf("%s: %d bytes arrived and do not end in the %d sent", host.Name(), len(got.Data), len(content))
		}
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
