// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
)

// noted counts the alarms of a run of attempts.
func noted(t *testing.T, run func(r *refusals)) (alarms int, text string) {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(*testing.T) {
		run(&refusals{log: slog.New(slog.NewJSONHandler(&out, nil))})
	})
	return strings.Count(out.String(), "ALARM"), out.String()
}

var (
	allRefused = []mxfailover.Recipient{{AllRefused: true, Failure: &smtpreply.Error{
		Stage: smtpreply.StageGreeting, Code: 554, Reason: smtpreply.ReasonGreetingRefused,
	}}}
	unreachable = []mxfailover.Recipient{{Failure: &smtpreply.Error{Stage: smtpreply.StageConnect, Reason: smtpreply.ReasonConnect}}}
	unknownUser = []mxfailover.Recipient{{Failure: &smtpreply.Error{Stage: smtpreply.StageRcpt, Code: 550}}}
	good        = []mxfailover.Recipient{{}}
)

func TestS15_AlarmWhenASiteRefusesFor15Minutes(t *testing.T) {
	alarms, text := noted(t, func(r *refusals) {
		for range 15 { // minutes 0 to 14
			r.note("mx.example.test", allRefused)
			r.note("mx.example.test", unreachable) // says nothing else
			time.Sleep(time.Minute)
		}
	})
	if alarms != 0 {
		t.Errorf("an alarm before the time: %s", text)
	}
	alarms, text = noted(t, func(r *refusals) {
		for range 50 {
			r.note("mx.example.test", allRefused)
			time.Sleep(time.Minute)
		}
	})
	if alarms != 1 || !strings.Contains(text, `"mail.site":"mx.example.test"`) || !strings.Contains(text, "greeting_refused") {
		t.Errorf("%d alarms: %s", alarms, text)
	}
	if alarms, _ = noted(t, func(r *refusals) {
		for range 3 * 60 {
			r.note("mx.example.test", allRefused)
			time.Sleep(time.Minute)
		}
	}); alarms != 3 {
		t.Errorf("%d alarms in three hours", alarms)
	}
}

func TestS15_NoAlarmWhenTheSiteTalksInBetween(t *testing.T) {
	for name, between := range map[string][]mxfailover.Recipient{"taken": good, "refused for itself": unknownUser} {
		if alarms, text := noted(t, func(r *refusals) {
			for i := range 60 {
				r.note("mx.example.test", allRefused)
				if i%10 == 9 {
					r.note("mx.example.test", between)
				}
				time.Sleep(time.Minute)
			}
		}); alarms != 0 {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestS19_AlarmWhenAHostHasOurName(t *testing.T) {
	self := []mxfailover.Recipient{{Failure: &smtpreply.Error{Stage: smtpreply.StageEhlo, Code: 250, Reason: smtpreply.ReasonSelfSession}}}
	if alarms, text := noted(t, func(r *refusals) {
		r.note("mx.example.test", self)
		r.note("mx.example.test", self)
	}); alarms != 1 || !strings.Contains(text, "self_session") {
		t.Errorf("%d alarms: %s", alarms, text)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	noted(t, func(r *refusals) {
		for i := range mostRefusals + 100 {
			r.note(fmt.Sprint(i), allRefused)
		}
		if n := len(r.sites); n != mostRefusals {
			t.Errorf("%d sites", n)
		}
	})
}
