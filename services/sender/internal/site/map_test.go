// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"sync"
	"testing"
)

func TestADomainIsASiteOfItsOwnUntilItsRouteIsKnown(t *testing.T) {
	m := New(10, nil)
	if got := m.Of("a.example"); got != "a.example" {
		t.Errorf("unknown domain: %q", got)
	}
	if before, now := m.Learn("a.example", "mx1.test,mx2.test"); before != "a.example" || now != "mx1.test,mx2.test" {
		t.Errorf("learned: %q, %q", before, now)
	}
	m.Learn("b.example", "mx1.test,mx2.test")
	if m.Of("a.example") != m.Of("b.example") {
		t.Error("two domains of the same hosts are two sites")
	}
	if before, now := m.Learn("a.example", ""); before != now || m.Of("a.example") != "mx1.test,mx2.test" {
		t.Error("a route without a site has changed it")
	}
	if before, now := m.Learn("a.example", "mx3.test"); before != "mx1.test,mx2.test" || now != "mx3.test" || m.Of("a.example") != now {
		t.Errorf("moved: %q, %q", before, now)
	}
}

func TestADomainSetApartStaysASiteOfItsOwn(t *testing.T) {
	m := New(10, func(domain string) bool { return domain == "apart.example" })
	m.Learn("apart.example", "mx.test")
	m.Learn("other.example", "mx.test")
	if m.Of("apart.example") != "apart.example" || m.Of("other.example") != "mx.test" {
		t.Errorf("%q, %q", m.Of("apart.example"), m.Of("other.example"))
	}
}

func TestTheDomainNotAskedForLongestIsForgotten(t *testing.T) {
	m := New(3, nil)
	for i := range 3 {
		m.Learn(fmt.Sprintf("d%d.example", i), "mx.test")
	}
	m.Of("d0.example")
	m.Learn("d3.example", "mx.test")
	for domain, want := range map[string]string{"d0.example": "mx.test", "d1.example": "d1.example", "d2.example": "mx.test", "d3.example": "mx.test"} {
		if got := m.Of(domain); got != want {
			t.Errorf("%s: %q, want %q", domain, got, want)
		}
	}
	if len(m.domains) != 3 || m.order.Len() != 3 {
		t.Errorf("%d domains, %d in order", len(m.domains), m.order.Len())
	}
}

func TestMapIsSafeForConcurrentUse(t *testing.T) {
	m := New(50, nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 500 {
				domain := fmt.Sprintf("d%d.example", (i*n)%100)
				m.Learn(domain, "mx.test")
				m.Of(domain)
			}
		})
	}
	wg.Wait()
	if m.order.Len() > 50 {
		t.Errorf("%d domains", m.order.Len())
	}
}
