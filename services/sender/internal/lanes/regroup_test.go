// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"testing"
)

func TestDomainsOfOneSiteShareALaneOnceTheirRoutesAreKnown(t *testing.T) {
	l := lanesOf(3, 100)
	push(l, 5, "a.example", "x", prioNormal)
	push(l, 5, "b.example", "x", prioBulk)
	var running []*Run[string]
	for range 4 {
		running = append(running, l.next())
	}
	l.Learn("a.example", "mx.test")
	l.Learn("b.example", "mx.test")
	l.Learn("b.example", "mx.test")
	if got := l.Snapshot("mx.test"); len(got) != 2 || got[0].Running != 4 || got[0].Waiting+got[1].Waiting != 6 {
		t.Fatalf("%+v", got)
	}
	if len(l.lanes) != 1 {
		t.Errorf("%d lanes", len(l.lanes))
	}
	if l.next() != nil {
		t.Error("a fifth attempt starts at a site that may have three")
	}
	running[0].Done()
	running[1].Done()
	var order []string
	for len(order) < 6 {
		r := l.next()
		if r == nil {
			t.Fatalf("nothing may start after %v", order)
		}
		order = append(order, r.Value)
		r.Done()
	}
	if l.next() != nil || l.Waiting() != 0 {
		t.Error("something is left")
	}
	running[2].Done()
	running[3].Done()
	if len(l.lanes) != 0 || l.Running() != 0 {
		t.Errorf("%d lanes, %d running", len(l.lanes), l.Running())
	}
}

func TestADomainThatMovesTakesItsMailAlong(t *testing.T) {
	l := lanesOf(1, 100)
	l.Learn("a.example", "one.test")
	l.Learn("b.example", "one.test")
	push(l, 3, "a.example", "", prioNormal)
	push(l, 3, "b.example", "", prioNormal)
	at := l.next() // of a
	l.Learn("a.example", "two.test")
	if one, two := l.Snapshot("one.test"), l.Snapshot("two.test"); one[0].Waiting != 3 || one[0].Running != 1 || two[0].Waiting != 2 {
		t.Fatalf("%+v, %+v", one, two)
	}
	for i := 1; i < 3; i++ {
		r := l.next()
		if want := fmt.Sprintf("a.example//%d", i); r.Value != want || r.Key.Site != "two.test" {
			t.Errorf("%s at %s, want %s", r.Value, r.Key.Site, want)
		}
		r.Done()
	}
	at.Done()
	serve(t, l, 3, func(k Key) string { return k.Site })
}

// A domain may be the mail host of others, and its name their site.
func TestALaneThatOthersUseStaysWhenItsDomainMoves(t *testing.T) {
	l := lanesOf(5, 100)
	l.Learn("other.example", "host.example")
	push(l, 2, "other.example", "", prioNormal)
	push(l, 2, "host.example", "", prioNormal)
	first := l.next()
	l.Learn("host.example", "mx.test")
	if got := l.Snapshot("host.example"); len(got) != 1 || got[0].Running != 1 {
		t.Errorf("%+v", got)
	}
	first.Done()
	serve(t, l, 3, func(k Key) string { return k.Site })
	if len(l.lanes) != 0 {
		t.Errorf("%d lanes left", len(l.lanes))
	}
}

func TestQ15_WhatIsKnownOfADomainGoesOverToItsSite(t *testing.T) {
	l := lanesOf(5, 100)
	push(l, 1, "a.example", "", prioNormal)
	for range downAfter {
		l.Report("a.example", refused)
	}
	l.Learn("a.example", "mx.test")
	push(l, 1, "b.example", "", prioNormal)
	l.Learn("b.example", "mx.test")
	if l.next() != nil {
		t.Error("an attempt starts at a site that is down")
	}
	l.Report("b.example", nil)
	serve(t, l, 2, func(k Key) string { return k.Site })
}
