// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// gateway answers calls one after the other; the last answer stands for all further ones.
type gateway struct {
	gatewayv1.MailServiceClient
	answers []error

	mu    sync.Mutex
	calls []*gatewayv1.SubmitRequest
	times []time.Time
}

func (g *gateway) Submit(ctx context.Context, in *gatewayv1.SubmitRequest, _ ...grpc.CallOption) (*gatewayv1.SubmitResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("a call without deadline")
	}
	answer := g.answers[min(len(g.calls), len(g.answers)-1)]
	g.calls, g.times = append(g.calls, in), append(g.times, time.Now())
	if answer != nil {
		return nil, answer
	}
	return &gatewayv1.SubmitResponse{Accepted: &gatewayv1.Accepted{MessageId: "01NEW"}}, nil
}

// failures counts what an Observer is told.
type failures struct {
	mu  sync.Mutex
	all []*rpc.Error
}

func (f *failures) SubmitFailed(err *rpc.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func failure(code codes.Code, reason string) error { return &rpc.Error{Code: code, Reason: reason} }

func notification() Notification {
	return Notification{
		Key: "dsn/01OLD.1.2/failed", Recipient: "anna@example.org", Content: []byte("From: x\r\n\r\n"),
		About: &eventv1.Outcome{
			MessageId: "01OLD", EnvelopeSender: "anna@example.org", Tenant: "shop", Ret: eventv1.Ret_RET_FULL,
			Envid: "order-1", Tag: "tag", Priority: eventv1.Priority_PRIORITY_BULK, Loop: &eventv1.LoopTrace{HopNumber: 3},
		},
	}
}

func TestD02_EnvelopeOfANotification(t *testing.T) {
	g := &gateway{answers: []error{nil}}
	c := Client{Gateway: g, Log: slog.New(slog.DiscardHandler)}
	receipt, err := c.Submit(t.Context(), notification())
	if err != nil || receipt.MessageID != "01NEW" || receipt.Refused != nil || receipt.Tries != 1 {
		t.Fatalf("Submit = %+v, %v", receipt, err)
	}
	want := &gatewayv1.SubmitRequest{
		Envelope: &gatewayv1.Envelope{
			Recipients: []*gatewayv1.Recipient{{
				Address: "anna@example.org", Notify: []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER},
			}},
			Tenant: "shop", Priority: eventv1.Priority_PRIORITY_BULK, IdempotencyKey: "dsn/01OLD.1.2/failed",
			ReportsOn: "01OLD", ReportsOnLoop: &eventv1.LoopTrace{HopNumber: 3},
		},
		Content: []byte("From: x\r\n\r\n"),
	}
	if got := g.calls[0]; !proto.Equal(got, want) {
		t.Errorf("request\n%v, want\n%v", got, want)
	}
}

func TestD16_RequireTLSGoesAlong(t *testing.T) {
	g := &gateway{answers: []error{nil}}
	n := notification()
	n.RequireTLS = true
	if _, err := (&Client{Gateway: g, Log: slog.New(slog.DiscardHandler)}).Submit(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if !g.calls[0].GetEnvelope().GetRequireTls() {
		t.Error("the notification travels without REQUIRETLS")
	}
}

// TestQ09_TriesUntilItIsAccepted: what can pass is repeated under the same key and with the same bytes.
func TestQ09_TriesUntilItIsAccepted(t *testing.T) {
	for _, code := range []codes.Code{
		codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal,
		codes.Unknown, codes.DataLoss, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.NotFound,
	} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers := append(slices.Repeat([]error{failure(code, "X")}, 500), nil)
				g, seen := &gateway{answers: answers}, &failures{}
				c := Client{Gateway: g, Log: slog.New(slog.DiscardHandler), Observer: seen}
				receipt, err := c.Submit(t.Context(), notification())
				if err != nil || receipt.MessageID != "01NEW" || receipt.Tries != 501 || len(seen.all) != 500 {
					t.Fatalf("Submit = %+v, %v; %d failures seen", receipt, err, len(seen.all))
				}
				for i, call := range g.calls {
					if !proto.Equal(call, g.calls[0]) {
						t.Fatalf("call %d differs from the first", i)
					}
				}
				for i := 1; i < len(g.times); i++ {
					pause := g.times[i].Sub(g.times[i-1])
					if pause < firstPause || pause > lastPause*5/4+1 || i > 20 && pause < lastPause {
						t.Fatalf("pause %d was %s", i, pause)
					}
				}
			})
		})
	}
}

func TestWaitsAsLongAsTheGatewayAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &rpc.Error{Code: codes.ResourceExhausted, RetryAfter: time.Minute}
		endless := &rpc.Error{Code: codes.Unavailable, RetryAfter: 1000 * time.Hour}
		g := &gateway{answers: []error{full.GRPCStatus().Err(), endless.GRPCStatus().Err(), nil}}
		c := Client{Gateway: g, Log: slog.New(slog.DiscardHandler)}
		if _, err := c.Submit(t.Context(), notification()); err != nil {
			t.Fatal(err)
		}
		if pause := g.times[1].Sub(g.times[0]); pause < time.Minute || pause > 80*time.Second {
			t.Errorf("asked for 1m, waited %s", pause)
		}
		if pause := g.times[2].Sub(g.times[1]); pause < maxAsked || pause > 2*maxAsked {
			t.Errorf("asked for 1000h, waited %s", pause)
		}
	})
}

func TestRefusedForGood(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange} {
		g, seen := &gateway{answers: []error{failure(code, "WHY")}}, &failures{}
		c := Client{Gateway: g, Log: slog.New(slog.DiscardHandler), Observer: seen}
		receipt, err := c.Submit(t.Context(), notification())
		if err != nil || receipt.Refused == nil || receipt.Refused.Reason != "WHY" || len(g.calls) != 1 || len(seen.all) != 1 {
			t.Errorf("%v: Submit = %+v, %v after %d calls", code, receipt, err, len(g.calls))
		}
	}
}

// TestG12_KnownKeyIsAccepted: another version wrote the text differently, but the person has the notification.
func TestG12_KnownKeyIsAccepted(t *testing.T) {
	g, seen := &gateway{answers: []error{failure(codes.AlreadyExists, "KEY_REUSED")}}, &failures{}
	c := Client{Gateway: g, Log: slog.New(slog.DiscardHandler), Observer: seen}
	receipt, err := c.Submit(t.Context(), notification())
	if err != nil || !receipt.Duplicate || receipt.Refused != nil || len(seen.all) != 0 {
		t.Errorf("Submit = %+v, %v", receipt, err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{answers: []error{failure(codes.Unavailable, "")}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		receipt, err := (&Client{Gateway: g, Log: slog.New(slog.DiscardHandler)}).Submit(ctx, notification())
		if !errors.Is(err, context.DeadlineExceeded) || receipt.Refused != nil || time.Since(began) != time.Hour {
			t.Errorf("Submit = %+v, %v after %s", receipt, err, time.Since(began))
		}
	})
}

func TestAlarmsOnceAMinuteAndWithoutAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := &gateway{answers: []error{failure(codes.PermissionDenied, "RIGHT_MISSING")}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		c := Client{Gateway: g, Log: slog.New(slog.NewJSONHandler(&log, nil))}
		if _, err := c.Submit(ctx, notification()); err == nil {
			t.Fatal("accepted")
		}
		if n := strings.Count(log.String(), "\n"); n < 5 || n > 10 {
			t.Errorf("%d alarms in 10 minutes", n)
		}
		if strings.Contains(log.String(), "anna") || !strings.Contains(log.String(), "RIGHT_MISSING") {
			t.Errorf("log:\n%s", log.String())
		}
	})
}

// TestPassingFailuresAlarmOnlyWhenTheyLast: a gateway that has just been started answers KEYS_BEHIND for a while.
func TestPassingFailuresAlarmOnlyWhenTheyLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := &gateway{answers: []error{failure(codes.Unavailable, "KEYS_BEHIND"), failure(codes.Unavailable, "KEYS_BEHIND"), nil}}
		c := Client{Gateway: g, Log: slog.New(slog.NewJSONHandler(&log, nil))}
		if r, err := c.Submit(t.Context(), notification()); err != nil || r.Tries != 3 {
			t.Fatalf("Submit = %+v, %v", r, err)
		}
		if log.Len() > 0 {
			t.Errorf("alarm about what passed at once:\n%s", log.String())
		}
		g = &gateway{answers: []error{failure(codes.Unavailable, "KEYS_BEHIND")}}
		c.Gateway = g
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if _, err := c.Submit(ctx, notification()); err == nil {
			t.Fatal("accepted")
		}
		if n := strings.Count(log.String(), `"level":"ERROR"`); n < 2 || n > 4 {
			t.Errorf("%d alarms in 5 minutes", n)
		}
	})
}
