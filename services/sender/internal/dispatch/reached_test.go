// SPDX-License-Identifier: Apache-2.0

package dispatch

import (
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestQ15_WhatAnAttemptTellsOfItsSite(t *testing.T) {
	try := func(stage eventv1.Stage, reason string) *eventv1.HostTry {
		return &eventv1.HostTry{Failure: &eventv1.Failure{Stage: stage, Reason: reason}}
	}
	var (
		refused = try(eventv1.Stage_STAGE_CONNECT, "connect")
		silent  = try(eventv1.Stage_STAGE_GREETING, "no_greeting")
		ehlo    = try(eventv1.Stage_STAGE_EHLO, "")
		noRoute = try(eventv1.Stage_STAGE_CONNECT, "no_local_route")
		stopped = try(eventv1.Stage_STAGE_CONNECT, "shutdown")
		noName  = try(eventv1.Stage_STAGE_RESOLVE, "dns_temp")
		took    = &eventv1.HostTry{}
	)
	for name, test := range map[string]struct {
		tries  []*eventv1.HostTry
		reason string
		tried  bool
	}{
		"nothing was reached for":     {nil, "", false},
		"all fail":                    {[]*eventv1.HostTry{refused, silent}, "no_greeting", true},
		"the second greets":           {[]*eventv1.HostTry{refused, ehlo}, "", true},
		"the second takes the mail":   {[]*eventv1.HostTry{silent, took}, "", true},
		"we have no route":            {[]*eventv1.HostTry{noRoute, noName}, "", false},
		"one fails, one has no route": {[]*eventv1.HostTry{refused, noRoute}, "connect", true},
		"the sender stops":            {[]*eventv1.HostTry{stopped}, "", false},
	} {
		failure, tried := Reached(&eventv1.Outcome{Attempt: &eventv1.Attempt{Hosts: test.tries}})
		if tried != test.tried || failure.GetReason() != test.reason {
			t.Errorf("%s: %v, %v", name, failure, tried)
		}
	}
	if _, tried := Reached(nil); tried {
		t.Error("an attempt without an outcome tells something")
	}
}
