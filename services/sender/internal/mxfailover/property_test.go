// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
	"github.com/postrider/postrider/testkit/smtptest"
)

// ways are what a host may do, and what must follow of it for a walk that comes to it.
func ways() map[string]struct {
	there any
	end   verdict.Verdict // Next: goes on
} {
	at := func(command string) smtptest.Conversation {
		return func(s *smtptest.Conn) {
			s.Greet("mx")
			for _, step := range []string{"MAIL", "RCPT", "DATA"} {
				s.Expect(step)
				if step == command {
					return
				}
				s.Send(map[string]string{"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go"}[step] + "\r\n")
			}
			s.ReadData()
		}
	}
	return map[string]struct {
		there any
		end   verdict.Verdict
	}{
		"takes": {takes, verdict.Delivered}, "refused": {refused, verdict.Next}, "no route": {noRoute, verdict.Next},
		"dead": {nil, verdict.Next}, "silent": {silent, verdict.Next}, "421": {greets("421 busy"), verdict.Next},
		"554": {greets("554 no"), verdict.Next}, "no smtp": {greets("hello"), verdict.Next},
		"lost at MAIL": {at("MAIL"), verdict.Next}, "lost at RCPT": {at("RCPT"), verdict.Next},
		"lost at DATA": {at("DATA"), verdict.Next}, "lost at dot": {at("dot"), verdict.Defer},
		"MAIL 4": {says("MAIL", "451 later"), verdict.Next}, "MAIL 5": {says("MAIL", "550 no"), verdict.Bounce},
		"RCPT 4": {says("RCPT", "450 later"), verdict.Next}, "RCPT 5": {says("RCPT", "550 no"), verdict.Bounce},
		"DATA 4": {says("DATA", "451 later"), verdict.Next}, "DATA 5": {says("DATA", "554 no"), verdict.Bounce},
		"dot 4": {says("dot", "451 later"), verdict.Next}, "dot 5": {says("dot", "554 no"), verdict.Bounce},
	}
}

// The hosts of a route are asked in order, up to the first that ends it; the recipient ends in exactly that, or deferred
// when none does.
func TestPropertyTheFirstHostThatEndsItDecides(t *testing.T) {
	all := ways()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		drawn := rapid.SliceOfN(rapid.SampledFrom(names), 1, 4).Draw(rt, "hosts")
		want, asked := verdict.Defer, len(drawn)
		var parts []string
		n := network{}
		for i, name := range drawn {
			address := fmt.Sprintf("192.0.2.%d", i+1)
			parts = append(parts, fmt.Sprintf("mx%d %d %s", i, i, address))
			n[address] = all[name].there
			if end := all[name].end; end != verdict.Next && asked == len(drawn) && want == verdict.Defer {
				want, asked = end, i+1
			}
		}
		var o Outcome
		synctest.Test(t, func(t *testing.T) {
			w := Walker{Timeouts: smtpclient.DefaultTimeouts(), Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, _, _ := net.SplitHostPort(address)
				switch there := n[host].(type) {
				case error:
					return nil, there
				case smtptest.Conversation:
					return (&walk{t: t}).connect(there), nil
				case func(*smtptest.Conn):
					return (&walk{t: t}).connect(there), nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			m := mail("a@example.test")
			m.OpenBody = func() (io.ReadSeekCloser, error) { return bodyOf(content), nil }
			o = w.Deliver(t.Context(), route(strings.Join(parts, ";")), m)
		})
		if got := o.Recipients[0].Verdict; got != want || len(o.Tries) != asked {
			rt.Fatalf("%s after %d hosts, want %s after %d: %v", got, len(o.Tries), want, asked, o.Recipients[0].Failure)
		}
	})
}
