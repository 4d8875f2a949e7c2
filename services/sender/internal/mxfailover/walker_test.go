// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
	"github.com/postrider/postrider/testkit/smtptest"
)

const twoHosts = "mx1 10 192.0.2.1; mx2 20 192.0.2.2"

func TestFirstHostTakesIt(t *testing.T) {
	walking(t, network{"192.0.2.1": takes}, twoHosts, func(w *walk) {
		o := w.deliver()
		w.want(o, "delivered", "mx1 192.0.2.1 delivered")
		r, try := o.Recipients[0], o.Tries[0]
		if r.Host != "mx1" || r.Reply.String() != "250 2.0.0 queued" {
			t.Errorf("host %q, reply %q", r.Host, r.Reply)
		}
		if try.GetAddress() != "192.0.2.1:25" || try.GetPreference() != 10 || try.GetStage() != eventv1.Stage_STAGE_DOT ||
			try.GetTls().GetFinding() != "STARTTLS not offered" || try.GetBytesSent() != uint64(len(content)+3) ||
			try.GetStartedAt() == nil || len(try.GetTranscript()) != 0 {
			t.Errorf("try %v", try)
		}
	})
}

// Every failure of a host as such leads to the next one.
func TestS11_S16_S23_S34_NextHost(t *testing.T) {
	for name, c := range map[string]struct {
		first  any
		reason string
		stage  eventv1.Stage
		spent  time.Duration
	}{
		"S-11 refused":       {refused, "connect", eventv1.Stage_STAGE_CONNECT, 0},
		"S-01 no connection": {nil, "connect", eventv1.Stage_STAGE_CONNECT, 30 * time.Second},
		"R-22 no route":      {noRoute, "no_local_route", eventv1.Stage_STAGE_CONNECT, 0},
		"S-13 closed":        {func(*smtptest.Conn) {}, "connection_lost", eventv1.Stage_STAGE_GREETING, 0},
		"S-14 4xx":           {greets("450 later"), "", eventv1.Stage_STAGE_GREETING, 0},
		"S-15 554":           {greets("554 no"), "greeting_refused", eventv1.Stage_STAGE_GREETING, 0},
		"S-16 no reply":      {greets("hello"), "protocol", eventv1.Stage_STAGE_GREETING, 0},
		"S-34 lost at MAIL": {func(s *smtptest.Conn) {
			s.Greet("mx")
			s.Expect("MAIL")
		}, "connection_lost", eventv1.Stage_STAGE_MAIL, 0},
		"S-33 421 at RCPT": {says("RCPT", "421 4.3.2 down"), "", eventv1.Stage_STAGE_RCPT, 0},
		"S-50 MAIL 451":    {says("MAIL", "451 later"), "", eventv1.Stage_STAGE_MAIL, 0},
		"S-53 RCPT 450":    {says("RCPT", "450 later"), "", eventv1.Stage_STAGE_RCPT, 0},
		"S-56 DATA 451":    {says("DATA", "451 later"), "", eventv1.Stage_STAGE_DATA, 0},
		"S-62 dot 451":     {says("dot", "451 later"), "", eventv1.Stage_STAGE_DOT, 0},
		"S-04 MAIL silent": {func(s *smtptest.Conn) {
			s.Greet("mx")
			s.Expect("MAIL")
			s.Silent()
		}, "timeout", eventv1.Stage_STAGE_MAIL, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			walking(t, network{"192.0.2.1": c.first, "192.0.2.2": takes}, twoHosts, func(w *walk) {
				var o Outcome
				if spent := took(func() { o = w.deliver() }); spent != c.spent {
					t.Errorf("took %s, want %s", spent, c.spent)
				}
				w.want(o, "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
				if f := o.Tries[0].GetFailure(); f.GetReason() != c.reason || f.GetStage() != c.stage {
					t.Errorf("left for %v", f)
				}
				if len(o.Tries[0].GetTranscript()) == 0 {
					t.Error("no transcript of the failed session")
				}
			})
		})
	}
}

func TestS02_S12_SilentGreetingTriesNextHost(t *testing.T) {
	walking(t, network{"192.0.2.1": silent, "192.0.2.2": takes}, twoHosts, func(w *walk) {
		var o Outcome
		if spent := took(func() { o = w.deliver() }); spent != time.Minute {
			t.Errorf("took %s, want a minute", spent)
		}
		w.want(o, "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		if f := o.Tries[0].GetFailure(); f.GetReason() != "no_greeting" || f.GetStatus().GetClass() != 4 {
			t.Errorf("left for %v", f)
		}
	})
	t.Run("the last one has five minutes", func(t *testing.T) {
		walking(t, network{"192.0.2.1": silent, "192.0.2.2": silent}, twoHosts, func(w *walk) {
			var o Outcome
			if spent := took(func() { o = w.deliver() }); spent != 6*time.Minute {
				t.Errorf("took %s, want 6 minutes", spent)
			}
			w.want(o, "defer 4.4.2", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
		})
	})
	t.Run("a host that cannot be tried is no candidate", func(t *testing.T) {
		walking(t, network{"192.0.2.1": silent}, twoHosts, func(w *walk) {
			w.route.Hosts[1].Failure = (&smtpreply.Error{Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonDNSTemp}).Proto()
			w.route.Hosts[1].Addresses = nil
			var o Outcome
			if spent := took(func() { o = w.deliver() }); spent != 5*time.Minute {
				t.Errorf("took %s, want 5 minutes", spent)
			}
			w.want(o, "defer 4.4.3", "mx1 192.0.2.1 next_host", "mx2  defer")
		})
	})
}

func TestS15_AllHostsSay521(t *testing.T) {
	walking(t, network{"192.0.2.1": greets("521 no mail"), "192.0.2.2": greets("521 5.3.2 no mail")}, twoHosts, func(w *walk) {
		o := w.deliver()
		w.want(o, "bounce 5.3.2", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 bounce")
		if o.Recipients[0].Host != "mx2" {
			t.Errorf("host %q", o.Recipients[0].Host)
		}
	})
	walking(t, network{"192.0.2.1": greets("521 no mail"), "192.0.2.2": greets("554 no")}, twoHosts, func(w *walk) {
		o := w.deliver()
		w.want(o, "defer 4.3.2", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
		if !o.Recipients[0].AllRefused {
			t.Error("not counted as refused by all")
		}
	})
	walking(t, network{"192.0.2.1": greets("521 no mail"), "192.0.2.2": refused}, twoHosts, func(w *walk) {
		w.want(w.deliver(), "defer 4.3.2", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
	})
	walking(t, network{"192.0.2.1": greets("554 no"), "192.0.2.2": says("MAIL", "451 later")}, twoHosts, func(w *walk) {
		o := w.deliver()
		w.want(o, "defer 4.0.0", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
		if o.Recipients[0].AllRefused {
			t.Error("counted as refused by all")
		}
	})
}

// A 5yz in the transaction is final: no backup MX is asked.
func TestS50_S52_S57_S62_BounceAsksNoOtherHost(t *testing.T) {
	for name, first := range map[string]smtptest.Conversation{
		"MAIL": says("MAIL", "550 5.7.1 no"), "RCPT": says("RCPT", "550 5.1.1 no"), "DATA": says("DATA", "554 5.7.1 no"),
		"dot": says("dot", "554 5.7.1 no"),
		"content": func(s *smtptest.Conn) {
			s.Greet("mx")
			s.Envelope()
			s.ReadN(10)
			s.Send("552 5.3.4 too large\r\n")
			s.Silent()
		},
	} {
		t.Run(name, func(t *testing.T) {
			walking(t, network{"192.0.2.1": first}, twoHosts, func(w *walk) {
				o := w.deliver()
				if len(o.Tries) != 1 || o.Recipients[0].Verdict != verdict.Bounce || o.Recipients[0].Host != "mx1" ||
					o.Tries[0].GetLeftFor() != "bounce" {
					t.Errorf("got %+v, %v", o.Recipients, o.Tries)
				}
			})
		})
	}
}

func TestS47_AmbiguousAsksNoOtherHost(t *testing.T) {
	walking(t, network{"192.0.2.1": func(s *smtptest.Conn) {
		s.Greet("mx")
		s.Envelope()
		s.ReadData()
		s.Close()
	}}, "mx1 10 192.0.2.1 192.0.2.9; mx2 20 192.0.2.2", func(w *walk) {
		o := w.deliver()
		w.want(o, "defer 4.4.2", "mx1 192.0.2.1 defer")
		if o.Recipients[0].Failure.Reason != smtpreply.ReasonAmbiguous {
			t.Errorf("got %v", o.Recipients[0].Failure)
		}
	})
}

func TestS53_OnlyTheRecipientsConcernedGoOn(t *testing.T) {
	walking(t, network{
		"192.0.2.1": func(s *smtptest.Conn) {
			s.Greet("mx")
			for _, reply := range []string{"250 ok", "250 ok", "450 4.2.1 later", "550 5.1.1 no", "451 4.7.1 later"} {
				s.ReadLine()
				s.Send(reply + "\r\n")
			}
			s.Expect("DATA")
			s.Send("354 go\r\n")
			s.ReadData()
			s.Send("250 ok\r\n")
			s.Quit()
		},
		"192.0.2.2": func(s *smtptest.Conn) {
			s.Greet("mx")
			_, rcpts := s.Envelope()
			if got := strings.Join(rcpts, " "); got != "RCPT TO:<b@x.test> RCPT TO:<d@x.test>" {
				s.Fail("got %s", got)
			}
			s.ReadData()
			s.Send("250 ok\r\n")
			s.Quit()
		},
	}, twoHosts, func(w *walk) {
		w.mail.Message.Recipients = mail("a@x.test", "b@x.test", "c@x.test", "d@x.test").Message.Recipients
		o := w.deliver()
		w.want(o, "delivered, delivered, bounce 5.1.1, delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		if o.Recipients[0].Host != "mx1" || o.Recipients[1].Host != "mx2" || o.Recipients[2].Host != "mx1" {
			t.Errorf("hosts %+v", o.Recipients)
		}
	})
}

// A host that has answered to the message is not asked again at its other address; one that has not, is.
func TestTheSameHostAtItsOtherAddress(t *testing.T) {
	const route = "mx1 10 192.0.2.1 192.0.2.11; mx2 20 192.0.2.2"
	t.Run("after a reply: no", func(t *testing.T) {
		walking(t, network{"192.0.2.1": says("RCPT", "450 4.2.1 later"), "192.0.2.2": takes}, route, func(w *walk) {
			w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		})
	})
	t.Run("after a loss: yes", func(t *testing.T) {
		walking(t, network{"192.0.2.1": refused, "192.0.2.11": takes}, route, func(w *walk) {
			w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_address", "mx1 192.0.2.11 delivered")
		})
	})
	t.Run("each recipient by its own reply", func(t *testing.T) {
		walking(t, network{
			"192.0.2.1": func(s *smtptest.Conn) { // one is answered, the other not
				s.Greet("mx")
				for _, reply := range []string{"250 ok", "450 4.2.1 later"} {
					s.ReadLine()
					s.Send(reply + "\r\n")
				}
				s.Expect("RCPT")
			},
			"192.0.2.11": func(s *smtptest.Conn) {
				s.Greet("mx")
				if _, rcpts := s.Envelope(); len(rcpts) != 1 || rcpts[0] != "RCPT TO:<b@x.test>" {
					s.Fail("got %q", rcpts)
				}
				s.ReadData()
				s.Send("250 ok\r\n")
				s.Quit()
			},
			"192.0.2.2": takes,
		}, route, func(w *walk) {
			w.mail.Message.Recipients = mail("a@x.test", "b@x.test").Message.Recipients
			w.want(w.deliver(), "delivered, delivered",
				"mx1 192.0.2.1 next_address", "mx1 192.0.2.11 next_host", "mx2 192.0.2.2 delivered")
		})
	})
}

func TestR10_HostWithATemporaryFailureKeepsItsPlace(t *testing.T) {
	walking(t, network{"192.0.2.2": takes}, "mx1 10; mx2 20 192.0.2.2", func(w *walk) {
		w.route.Hosts[0].Failure = (&smtpreply.Error{Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonMTASTSMismatch}).Proto()
		o := w.deliver()
		w.want(o, "delivered", "mx1  next_host", "mx2 192.0.2.2 delivered")
		if got := o.Tries[0].GetFailure().GetReason(); got != "mta_sts_mismatch" {
			t.Errorf("reason %q", got)
		}
	})
}

func TestR21_AnAddressIsTriedOnce(t *testing.T) {
	walking(t, network{"192.0.2.1": refused, "192.0.2.2": refused}, "mx1 10 192.0.2.1; mx2 20 192.0.2.1 192.0.2.2 ::ffff:192.0.2.1", func(w *walk) {
		w.want(w.deliver(), "defer 4.4.1", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
	})
}

func TestR22_Limits(t *testing.T) {
	many := func(hosts, each int) string {
		var parts []string
		for h := range hosts {
			part := fmt.Sprintf("mx%d %d", h, h)
			for a := range each {
				part += fmt.Sprintf(" 192.0.%d.%d", h, a+1)
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ";")
	}
	everywhere := func(there any) network {
		n := network{}
		for h := range 20 {
			for a := range 20 {
				n[fmt.Sprintf("192.0.%d.%d", h, a+1)] = there
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		there   any
		hosts   int
		each    int
		dialled int
		ofHost0 int
		places  int // hosts dialled
	}{
		"10 addresses":                     {refused, 20, 1, 10, 1, 10},
		"4 of one host":                    {refused, 3, 8, 10, 4, 3},
		"5 that greet":                     {greets("450 later"), 20, 1, 5, 1, 5},
		"without a local route it is free": {noRoute, 3, 8, 24, 8, 3},
	} {
		t.Run(name, func(t *testing.T) {
			walking(t, everywhere(c.there), many(c.hosts, c.each), func(w *walk) {
				o := w.deliver()
				of0, hosts := 0, map[string]bool{}
				for _, try := range o.Tries {
					hosts[try.GetHost()] = true
					if try.GetHost() == "mx0" {
						of0++
					}
				}
				if len(w.dialled) != c.dialled || of0 != c.ofHost0 || len(hosts) != c.places {
					t.Errorf("%d dialled, %d of mx0, %d hosts", len(w.dialled), of0, len(hosts))
				}
				if got := o.Tries[len(o.Tries)-1].GetLeftFor(); got != "defer" {
					t.Errorf("last left for %q", got)
				}
			})
		})
	}
	t.Run("the last that may be dialled has the long time", func(t *testing.T) {
		n := everywhere(refused)
		n["192.0.9.1"] = silent
		walking(t, n, many(20, 1), func(w *walk) {
			if spent := took(func() { w.deliver() }); spent != 5*time.Minute {
				t.Errorf("took %s", spent)
			}
		})
	})
	t.Run("addresses of the attempt before come last within their host", func(t *testing.T) {
		walking(t, everywhere(refused), many(2, 6), func(w *walk) {
			w.mail.Dialled = addresses("192.0.0.1", "192.0.0.2", "192.0.0.3", "192.0.0.4", "192.0.1.1")
			w.deliver()
			want := "[192.0.0.5 192.0.0.6 192.0.0.1 192.0.0.2 192.0.1.2 192.0.1.3 192.0.1.4 192.0.1.5]"
			if got := fmt.Sprint(w.dialled); got != want {
				t.Errorf("dialled %s, want %s", got, want)
			}
		})
	})
}

func TestS45_S67_S68_NoHostTakesIt(t *testing.T) {
	eight := func(m *smtpclient.Message) { m.EightBit = true }
	utf8 := func(m *smtpclient.Message) { m.UTF8 = true; m.From = "jürgen@example.test" }
	for name, c := range map[string]struct {
		change        func(*smtpclient.Message)
		first, second any
		want          string
	}{
		"S-45 both":            {nil, offers("SIZE 10"), offers("SIZE 20"), "bounce 5.3.4"},
		"S-45 one unreachable": {nil, offers("SIZE 10"), refused, "bounce 5.3.4"},
		"S-45 next takes it":   {nil, offers("SIZE 10"), takes, "delivered"},
		"S-45 next says later": {nil, offers("SIZE 10"), says("RCPT", "451 4.7.1 later"), "defer 4.7.1"},
		"S-67 both":            {eight, offers("PIPELINING"), offers(), "bounce 5.6.3"},
		"S-67 one unreachable": {eight, offers("PIPELINING"), refused, "defer 4.6.3"},
		"S-67 one silent":      {eight, offers("PIPELINING"), silent, "defer 4.6.3"},
		"S-67 next takes it":   {eight, offers(), says("dot", "250 ok", "8BITMIME"), "delivered"},
		"S-68 both":            {utf8, offers("8BITMIME"), offers(), "bounce 5.6.7"},
		"S-68 one 4xx":         {utf8, offers("8BITMIME"), greets("450 later"), "defer 4.3.2"},
		"S-68 HELO forced": {utf8, offers(), []smtptest.Conversation{
			func(s *smtptest.Conn) { s.Send("220 a\r\n"); s.Expect("EHLO") },
			func(s *smtptest.Conn) { s.Send("220 a\r\n"); s.Expect("HELO"); s.Send("250 a\r\n"); s.Quit() },
		}, "defer 4.6.7"},
	} {
		t.Run(name, func(t *testing.T) {
			walking(t, network{"192.0.2.1": c.first, "192.0.2.2": c.second}, twoHosts, func(w *walk) {
				if c.change != nil {
					c.change(w.mail.Message)
				}
				o := w.deliver()
				got := o.Recipients[0].Verdict.String()
				if f := o.Recipients[0].Failure; f != nil {
					got += " " + f.RecordedStatus().String()
				}
				if got != c.want {
					t.Errorf("got %s, want %s: %v", got, c.want, o.Recipients[0].Failure)
				}
			})
		})
	}
}

func TestS19_OwnNameOnlyForMX(t *testing.T) {
	own := func(s *smtptest.Conn) { s.Greet("client.example.test"); s.Quit() }
	walking(t, network{"192.0.2.1": own, "192.0.2.2": own}, twoHosts, func(w *walk) {
		w.walker.OwnName = "client.example.test"
		w.want(w.deliver(), "defer 4.4.6", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
	})
	walking(t, network{"192.0.2.1": func(s *smtptest.Conn) {
		s.Greet("client.example.test")
		s.Take()
		s.Quit()
	}}, "- 0 192.0.2.1", func(w *walk) {
		w.walker.OwnName = "client.example.test"
		w.route.Domain = "[192.0.2.1]"
		o := w.deliver()
		w.want(o, "delivered", " 192.0.2.1 delivered")
		if o.Recipients[0].Host != "[192.0.2.1]" {
			t.Errorf("host %q", o.Recipients[0].Host)
		}
	})
}

func TestShutdownEndsTheWalk(t *testing.T) {
	walking(t, network{"192.0.2.1": silent, "192.0.2.2": takes}, twoHosts, func(w *walk) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		o := w.walker.Deliver(ctx, w.route, w.mail)
		w.want(o, "defer 4.3.0", "mx1 192.0.2.1 defer")
		if o.Recipients[0].Failure.Reason != smtpreply.ReasonShutdown || len(w.dialled) != 1 {
			t.Errorf("got %v after %q", o.Recipients[0].Failure, w.dialled)
		}
	})
	t.Run("who has an answer keeps it", func(t *testing.T) {
		walking(t, network{"192.0.2.1": func(s *smtptest.Conn) {
			s.Greet("mx")
			for _, reply := range []string{"250 ok", "550 5.1.1 no"} {
				s.ReadLine()
				s.Send(reply + "\r\n")
			}
			s.Silent()
		}}, twoHosts, func(w *walk) {
			w.mail.Message.Recipients = mail("a@x.test", "b@x.test").Message.Recipients
			ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
			defer cancel()
			w.want(w.walker.Deliver(ctx, w.route, w.mail), "bounce 5.1.1, defer 4.3.0", "mx1 192.0.2.1 defer")
		})
	})
}

func TestContentThatIsGone(t *testing.T) {
	walking(t, network{"192.0.2.1": offers(), "192.0.2.2": takes}, twoHosts, func(w *walk) {
		w.mail.OpenBody = func() (io.ReadSeekCloser, error) { return nil, fs.ErrNotExist }
		o := w.deliver()
		w.want(o, "defer 4.3.0", "mx1 192.0.2.1 defer")
		if o.BodyErr == nil || o.Recipients[0].Failure.Reason != smtpreply.ReasonBodyMissing {
			t.Errorf("got %v, %v", o.BodyErr, o.Recipients[0].Failure)
		}
	})
	walking(t, network{"192.0.2.1": offers(), "192.0.2.2": takes}, twoHosts, func(w *walk) {
		w.mail.OpenBody = func() (io.ReadSeekCloser, error) { return bodyOf(content + "more"), nil }
		o := w.deliver()
		w.want(o, "defer 4.3.0", "mx1 192.0.2.1 defer")
		if o.BodyErr == nil {
			t.Error("the content's fault is not told")
		}
	})
}

func TestPortOfTheRoute(t *testing.T) {
	r := route("mx1 0 192.0.2.1; mx2 0 2001:db8::1")
	r.Hosts[1].Port = 587
	all := plan(r, 2525, nil)
	if all[0].address.String() != "192.0.2.1:2525" || all[1].address.String() != "[2001:db8::1]:587" {
		t.Errorf("got %v", all)
	}
	if got := plan(r, 0, nil)[0].address.Port(); got != 25 {
		t.Errorf("port %d", got)
	}
}
