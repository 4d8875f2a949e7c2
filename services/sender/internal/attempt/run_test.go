// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestDeliveredAtTheSecondHost(t *testing.T) {
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.2"] = takes()
		before := proto.CloneOf(l.rec)
		o := l.run()
		r := o.GetResults()[0]
		want(t, r, delivered, "2.0.0", "", 0)
		if r.GetRemoteMta() != "mx2" || r.GetReply().GetCode() != 250 || r.GetReply().GetLines()[0] != "queued" || r.GetPossibleDuplicate() {
			t.Errorf("result %v", r)
		}
		if !proto.Equal(before, l.rec) {
			t.Error("the record was changed")
		}
		if !l.closed {
			t.Error("the content was not closed")
		}
		hosts := o.GetAttempt().GetHosts()
		if len(hosts) != 2 || hosts[0].GetLeftFor() != "next_host" || hosts[1].GetLeftFor() != "delivered" {
			t.Errorf("hosts %v", hosts)
		}
		if o.GetPause() != nil || o.GetAttempt().GetNumber() != 1 || o.GetAttempt().GetFailure() != nil {
			t.Errorf("outcome %v", o)
		}
	})
}

func TestOutcomeCarriesWhatTheRecordSays(t *testing.T) {
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.1"] = takes()
		l.rec.Envelope.RequireTls, l.rec.Envelope.Smtputf8 = false, false
		o := l.run()
		if o.GetId() != "01MESSAGE.2.1" || o.GetMessageId() != "01MESSAGE" || o.GetPart() != 2 || o.GetParts() != 3 || o.GetHop() != 4 ||
			o.GetTenant() != "tenant" || o.GetTag() != "tag" || o.GetDestination() != "example.test" || o.GetReportsOn() != "01REPORT" ||
			o.GetPriority() != eventv1.Priority_PRIORITY_URGENT || o.GetEnvelopeSender() != "sender@example.test" ||
			o.GetRet() != eventv1.Ret_RET_HDRS || o.GetEnvid() != "envid" || o.GetLoop().GetHopNumber() != 1 ||
			o.GetIdempotencyHash()[0] != 1 || o.GetSubmitDigest()[0] != 2 || o.GetContent().GetSize() != uint64(len(content)) {
			t.Errorf("outcome %v", o)
		}
		if got := o.GetExpiresAt().AsTime().Sub(o.GetAcceptedAt().AsTime()); got != 5*24*time.Hour {
			t.Errorf("expires after %s", got)
		}
		if o.GetDecidedAt() == nil || o.GetSource() != nil {
			t.Errorf("decided %v, source %v", o.GetDecidedAt(), o.GetSource())
		}
	})
}

func TestEachRecipientItsResult(t *testing.T) {
	inLab(t, func(l *lab) {
		l.recipients(&eventv1.Recipient{Address: "a@x.test", AmbiguousInRow: 2, GreetingRefused: 1},
			&eventv1.Recipient{Address: "b@x.test"}, &eventv1.Recipient{Address: "c@x.test", AmbiguousInRow: 2})
		l.hosts["192.0.2.1"] = rcpts("250 ok", "550 5.1.1 no", "450 4.2.1 later")
		o := l.run()
		want(t, o.GetResults()[0], delivered, "2.0.0", "", 0)
		want(t, o.GetResults()[1], bounced, "5.1.1", "", 0)
		want(t, o.GetResults()[2], deferred, "4.2.1", "", 5*time.Minute)
		if o.GetPause().AsDuration() != 5*time.Minute {
			t.Errorf("pause of the record %v", o.GetPause())
		}
		for i, r := range o.GetResults() {
			after := r.GetRecipient()
			if after.GetIndex() != uint32(i) || after.GetAmbiguousInRow() != 0 || after.GetGreetingRefused() != 0 {
				t.Errorf("recipient %d: %v", i, after)
			}
		}
		if f := o.GetResults()[2].GetRecipient().GetLastFailure(); f.GetReply().GetCode() != 450 {
			t.Errorf("last failure %v", f)
		}
		if o.GetResults()[1].GetRemoteMta() != "mx1" || o.GetResults()[1].GetReply().GetCode() != 550 {
			t.Errorf("bounce %v", o.GetResults()[1])
		}
	})
}

func TestS47_AmbiguousResults(t *testing.T) {
	for before, c := range map[uint32]struct {
		state  eventv1.RecipientState
		status string
		pause  time.Duration
	}{
		0: {deferred, "4.4.2", 10 * time.Minute}, 1: {deferred, "4.4.2", 10 * time.Minute}, 2: {deferred, "4.4.2", 4 * time.Hour},
		5: {expired, "4.4.7", 0},
	} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.recipients(&eventv1.Recipient{Address: "a@x.test", AmbiguousInRow: before})
				l.hosts["192.0.2.1"] = losesTheDot
				r := l.only()
				want(t, r, c.state, c.status, "ambiguous", c.pause)
				if r.GetRecipient().GetAmbiguousInRow() != before+1 || len(l.dialled) != 1 {
					t.Errorf("counter %d, dialled %q", r.GetRecipient().GetAmbiguousInRow(), l.dialled)
				}
				if !r.GetPossibleDuplicate() {
					t.Error("not marked as a possible duplicate")
				}
				if !strings.Contains(r.GetFailure().GetDetail(), "may have been delivered") {
					t.Errorf("detail %q", r.GetFailure().GetDetail())
				}
			})
		})
	}
}

func TestQ08_TheMarkStays(t *testing.T) {
	inLab(t, func(l *lab) {
		l.rec.PossibleDuplicate = true
		l.hosts["192.0.2.1"] = takes()
		if !l.only().GetPossibleDuplicate() {
			t.Error("the mark is gone")
		}
	})
}

func TestQ03_ExpiredTellsTheLastReply(t *testing.T) {
	reply := (&smtpreply.Error{Stage: smtpreply.StageRcpt, Code: 451, Enhanced: smtpreply.Code(4, 7, 1), Text: []string{"grey"}}).Proto()
	other := (&smtpreply.Error{Stage: smtpreply.StageConnect, Reason: smtpreply.ReasonConnect}).Proto()
	history := &eventv1.History{First: []*eventv1.Attempt{{Hosts: []*eventv1.HostTry{{Host: "mx9", Failure: reply}, {Host: "mx2", Failure: other}}}}}
	for name, c := range map[string]struct {
		talk    smtptest.Conversation
		last    *eventv1.Failure
		history *eventv1.History
		code    uint32
		mta     string
		reason  string
	}{
		"of this attempt":    {rcpts("450 4.2.1 later"), reply, nil, 450, "mx1", ""},
		"of the recipient":   {nil, reply, history, 451, "mx9", ""},
		"of the history":     {nil, other, history, 451, "mx9", ""},
		"there never was":    {nil, other, nil, 0, "", "connect"},
		"there is no before": {nil, nil, nil, 0, "", "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.recipients(&eventv1.Recipient{Address: "a@x.test", LastFailure: c.last})
				l.rec.History = c.history
				if c.talk != nil {
					l.hosts["192.0.2.1"] = c.talk
				}
				l.aged(6 * 24 * time.Hour)
				r := l.only()
				want(t, r, expired, "4.4.7", c.reason, 0)
				if r.GetReply().GetCode() != c.code || r.GetFailure().GetReply().GetCode() != c.code || r.GetRemoteMta() != c.mta {
					t.Errorf("reply %v of %q", r.GetReply(), r.GetRemoteMta())
				}
			})
		})
	}
	t.Run("null sender", func(t *testing.T) {
		inLab(t, func(l *lab) {
			l.rec.Envelope.Sender = ""
			l.aged(49 * time.Hour)
			want(t, l.only(), expired, "4.4.7", "connect", 0)
		})
	})
	t.Run("delivered however old", func(t *testing.T) {
		inLab(t, func(l *lab) {
			l.hosts["192.0.2.1"] = takes()
			l.aged(6 * 24 * time.Hour)
			want(t, l.only(), delivered, "2.0.0", "", 0)
		})
	})
}

func TestQ04_DelayNoticeOnce(t *testing.T) {
	inLab(t, func(l *lab) {
		l.aged(5 * time.Hour)
		r := l.only()
		if !r.GetDelayNoticeDue() || !r.GetRecipient().GetDelayNoticed() {
			t.Errorf("not due: %v", r)
		}
		l.recipients(r.GetRecipient())
		if again := l.only(); again.GetDelayNoticeDue() || !again.GetRecipient().GetDelayNoticed() {
			t.Errorf("due again: %v", again)
		}
	})
}

func TestQ05_ConfiguredSizeBeforeAnyLookUp(t *testing.T) {
	inLab(t, func(l *lab) {
		l.options.Destinations = destination.List{{Match: "example.test", MaxSize: config.Size(len(content) - 1)}, {Match: "*", MaxSize: 1 << 20}}
		o := l.run()
		want(t, o.GetResults()[0], bounced, "5.3.4", "size", 0)
		if len(l.resolver.asked) != 0 || len(l.dialled) != 0 || o.GetAttempt().GetFailure().GetStage() != eventv1.Stage_STAGE_LOCAL {
			t.Errorf("asked %v, dialled %q, failure %v", l.resolver.asked, l.dialled, o.GetAttempt().GetFailure())
		}
	})
	inLab(t, func(l *lab) {
		l.options.Destinations = destination.List{{Match: "example.test", MaxSize: 1, MaxSizeOf: destination.OfMailbox}}
		want(t, l.only(), bounced, "5.2.3", "mailbox_size", 0)
	})
	inLab(t, func(l *lab) {
		l.options.Destinations = destination.List{{Match: "*", MaxSize: config.Size(len(content))}}
		l.hosts["192.0.2.1"] = takes()
		want(t, l.only(), delivered, "2.0.0", "", 0)
	})
}

func TestRoutesThatAreNone(t *testing.T) {
	verdictOf := func(reason smtpreply.Reason) *resolverv1.ResolveRouteResponse {
		return &resolverv1.ResolveRouteResponse{Failure: (&smtpreply.Error{Stage: smtpreply.StageResolve, Reason: reason}).Proto()}
	}
	for name, c := range map[string]struct {
		resolver answers
		state    eventv1.RecipientState
		status   string
		reason   string
		pause    time.Duration
	}{
		"R-04 null MX":   {answers{route: verdictOf(smtpreply.ReasonNullMX)}, bounced, "5.1.10", "null_mx", 0},
		"R-06 NXDOMAIN":  {answers{route: verdictOf(smtpreply.ReasonNoSuchDomain)}, bounced, "5.1.2", "no_such_domain", 0},
		"R-07 SERVFAIL":  {answers{route: verdictOf(smtpreply.ReasonDNSTemp)}, deferred, "4.4.3", "dns_temp", 5 * time.Minute},
		"R-18 ourselves": {answers{route: verdictOf(smtpreply.ReasonMXSelf)}, bounced, "5.4.6", "mx_self", 0},
		"no resolver":    {answers{err: status.Error(codes.Unavailable, "x")}, deferred, "4.4.3", "resolver_unavailable", 5 * time.Minute},
		"no domain":      {answers{err: status.Error(codes.InvalidArgument, "x")}, bounced, "5.1.2", "bad_domain", 0},
		"never answers":  {answers{hang: true}, deferred, "4.4.3", "resolver_unavailable", 5 * time.Minute},
		"empty route":    {answers{route: &resolverv1.ResolveRouteResponse{}}, deferred, "4.3.0", "internal", 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.options.Resolver = &c.resolver
				o := l.run()
				want(t, o.GetResults()[0], c.state, c.status, c.reason, c.pause)
				if o.GetAttempt().GetFailure().GetReason() != c.reason || len(o.GetAttempt().GetHosts()) != 0 || len(l.dialled) != 0 {
					t.Errorf("attempt %v", o.GetAttempt())
				}
			})
		})
	}
}

func TestR52_SmarthostIsAskedFor(t *testing.T) {
	inLab(t, func(l *lab) {
		l.options.Destinations = destination.List{{Match: "*", Smarthost: destination.Smarthost{Host: "[relay.test]", Port: 2525}}}
		l.run()
		if got := l.resolver.asked[0]; got.GetSmarthost() != "[relay.test]:2525" || got.GetDomain() != "example.test" {
			t.Errorf("asked %v", got)
		}
	})
}

func TestS15_GreetingRefusedByAll(t *testing.T) {
	refuse := func(l *lab) {
		l.hosts["192.0.2.1"], l.hosts["192.0.2.2"] = greets("554 5.7.1 no"), greets("550 no")
	}
	inLab(t, func(l *lab) {
		refuse(l)
		r := l.only()
		want(t, r, deferred, "4.3.2", "greeting_refused", 5*time.Minute)
		if r.GetRecipient().GetGreetingRefused() != 1 {
			t.Errorf("counter %v", r.GetRecipient())
		}
	})
	inLab(t, func(l *lab) {
		refuse(l)
		l.options.Retry.Greeting5xx = retryschedule.Greeting5xxBounce
		l.recipients(&eventv1.Recipient{Address: "a@x.test", GreetingRefused: 2})
		l.aged(2 * time.Hour)
		want(t, l.only(), bounced, "5.3.2", "greeting_refused", 0)
	})
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.1"], l.hosts["192.0.2.2"] = greets("521 no mail"), greets("521 no mail")
		want(t, l.only(), bounced, "5.3.2", "greeting_refused", 0)
	})
}

func TestD06_D07_Success(t *testing.T) {
	notify := []eventv1.Notify{eventv1.Notify_NOTIFY_SUCCESS, eventv1.Notify_NOTIFY_FAILURE}
	for name, c := range map[string]struct {
		notify     []eventv1.Notify
		extensions []string
		state      eventv1.RecipientState
		passedOn   bool
	}{
		"asked for, DSN":    {notify, []string{"DSN"}, delivered, true},
		"asked for, no DSN": {notify, nil, relayed, false},
		"not asked for":     {nil, nil, delivered, false},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.recipients(&eventv1.Recipient{Address: "a@x.test", Notify: c.notify})
				l.hosts["192.0.2.1"] = takes(c.extensions...)
				r := l.only()
				want(t, r, c.state, "2.0.0", "", 0)
				if r.GetDsnPassedOn() != c.passedOn {
					t.Errorf("passed on: %t", r.GetDsnPassedOn())
				}
			})
		})
	}
}

func TestContentGoneOrDamagedIsHeld(t *testing.T) {
	for name, c := range map[string]struct {
		body   func() (io.ReadSeekCloser, error)
		state  eventv1.RecipientState
		reason string
		pause  time.Duration
	}{
		"gone":       {func() (io.ReadSeekCloser, error) { return nil, fmt.Errorf("open: %w", fs.ErrNotExist) }, held, "body_missing", 0},
		"unreadable": {func() (io.ReadSeekCloser, error) { return nil, errors.New("store away") }, deferred, "body_missing", 5 * time.Minute},
		"damaged":    {func() (io.ReadSeekCloser, error) { return &memory{bytes.NewReader([]byte("short")), new(bool)}, nil }, held, "internal", 0},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				l.hosts["192.0.2.1"] = func(s *smtptest.Conn) { s.Greet("mx"); s.Quit() }
				l.job.Body = c.body
				want(t, l.only(), c.state, "4.3.0", c.reason, c.pause)
				if len(l.dialled) != 1 {
					t.Errorf("dialled %q", l.dialled)
				}
			})
		})
	}
}

func TestQ07_NothingToSettleWhenStoppedBeforeAnAnswer(t *testing.T) {
	silent := func(s *smtptest.Conn) { s.Silent() }
	stopAfter := func(l *lab, d time.Duration) *eventv1.Outcome {
		ctx, cancel := context.WithTimeout(l.t.Context(), d)
		defer cancel()
		return l.runFor(ctx)
	}
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.1"] = silent
		if o := stopAfter(l, time.Second); o != nil {
			t.Errorf("outcome %v", o)
		}
	})
	inLab(t, func(l *lab) {
		l.resolver.hang = true
		if o := stopAfter(l, time.Second); o != nil {
			t.Errorf("outcome %v", o)
		}
	})
	inLab(t, func(l *lab) { // the lease is lost before MAIL
		l.hosts["192.0.2.1"] = func(s *smtptest.Conn) { s.Greet("mx"); s.Quit() }
		l.job.MayStart = func() bool { return false }
		if o := l.run(); o != nil {
			t.Errorf("outcome %v", o)
		}
	})
	inLab(t, func(l *lab) { // one recipient has its answer
		l.recipients(&eventv1.Recipient{Address: "a@x.test"},
			&eventv1.Recipient{Address: "b@x.test", LastFailure: &eventv1.Failure{Reason: "before"}, AmbiguousInRow: 1})
		l.hosts["192.0.2.1"] = func(s *smtptest.Conn) {
			s.Greet("mx")
			for _, reply := range []string{"250 ok", "550 5.1.1 no"} {
				s.ReadLine()
				s.Send(reply + "\r\n")
			}
			s.Silent()
		}
		o := stopAfter(l, time.Second)
		want(t, o.GetResults()[0], bounced, "5.1.1", "", 0)
		want(t, o.GetResults()[1], deferred, "4.3.0", "shutdown", 0)
		after := o.GetResults()[1].GetRecipient()
		if after.GetLastFailure().GetReason() != "before" || after.GetAmbiguousInRow() != 1 {
			t.Errorf("an attempt cut short has changed %v", after)
		}
		if o.GetPause() == nil {
			t.Error("the record has no pause")
		}
	})
	inLab(t, func(l *lab) { // past the dot the reply is awaited
		l.hosts["192.0.2.1"] = func(s *smtptest.Conn) {
			s.Greet("mx")
			s.Envelope()
			s.ReadData()
			time.Sleep(time.Minute)
			s.Send("250 ok\r\n")
			s.ExpectClosed()
		}
		o := stopAfter(l, time.Second)
		want(t, o.GetResults()[0], delivered, "2.0.0", "", 0)
	})
}

func TestR22_NextAttemptBeginsWithOtherAddresses(t *testing.T) {
	inLab(t, func(l *lab) {
		l.resolver.route.Hosts[0].Addresses = []string{"192.0.2.1", "192.0.2.11"}
		l.rec.History = &eventv1.History{Last: []*eventv1.Attempt{
			{Hosts: []*eventv1.HostTry{{Address: "192.0.2.11:25"}}},
			{Hosts: []*eventv1.HostTry{{Address: "192.0.2.1:25"}, {Address: ""}}},
		}}
		l.run()
		if got := strings.Join(l.dialled, " "); got != "192.0.2.11 192.0.2.1 192.0.2.2" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestNewChecksItsOptions(t *testing.T) {
	inLab(t, func(l *lab) {
		for name, change := range map[string]func(*Options){
			"resolver":     func(o *Options) { o.Resolver = nil },
			"timeouts":     func(o *Options) { o.Timeouts.Mail = 0 },
			"retry":        func(o *Options) { o.Retry.Pauses = nil },
			"destinations": func(o *Options) { o.Destinations = destination.List{{Match: "a b"}} },
		} {
			o := l.options
			change(&o)
			if _, err := New(o); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
	})
}

// Who waives the policies is not held back by them either (S-42); REQUIRETLS never waives.
func TestS42_WaivedPolicyIsNotAskedFor(t *testing.T) {
	for _, c := range []struct {
		name               string
		optional, required bool
		word               string
		want               bool
	}{
		{"nothing said", false, false, "", false},
		{"TLS-Required: No", true, false, "", true},
		{"REQUIRETLS beside it", true, true, "", false},
		{"operator, off", false, false, "off", true},
		{"operator, opportunistic", false, false, "opportunistic", true},
		{"operator, verify", false, false, "verify", false},
	} {
		inLab(t, func(l *lab) {
			l.rec.Envelope.TlsOptional, l.rec.Envelope.RequireTls = c.optional, c.required
			l.options.Destinations = destination.List{{Match: "*", TLS: c.word}}
			l.run()
			if got := l.resolver.asked[0].GetIgnoreTlsPolicy(); got != c.want {
				t.Errorf("%s: %t", c.name, got)
			}
		})
	}
}
