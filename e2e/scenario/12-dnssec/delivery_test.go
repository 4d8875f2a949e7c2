// SPDX-License-Identifier: Apache-2.0

//go:build debian

package dnssec_test

import (
	"context"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const message = "From: a@sender.example\r\nSubject: signed\r\nMessage-ID: <dnssec@sender.example>\r\n" +
	"Date: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\nOnly to whom DNSSEC says.\r\n"

func TestDeliveryByDANEAndNeverWithoutIt(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { deliver(t, shape) })
	}
}

func deliver(t *testing.T, shape suite.Shape) {
	w := start(t)
	mail := suite.Start(t, shape, suite.Options{Settings: w.settings(nil)}).Mail(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	deferred := func(domain, status, reason string) *gatewayv1.RecipientStatus {
		t.Helper()
		id := suite.Submit(ctx, t, mail, []byte(message), "a@sender.example", "b@"+domain)
		m := suite.Await(ctx, t, mail, id, "tried", tried)
		r := m.GetRecipients()[0]
		if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DEFERRED || r.GetStatus() != status || r.GetReason() != reason {
			t.Errorf("%s: recipient %v, want deferred, %s, %s", domain, r, status, reason)
		}
		return r
	}
	deferred("bogusmx.example", "4.4.3", "dns_bogus")
	deferred("bogusaddr.example", "4.4.3", "dns_bogus")
	deferred("stripped.example", "4.4.3", "dns_bogus")
	deferred("bogustlsa.example", "4.7.5", "tlsa_lookup")
	deferred("droppedtlsa.example", "4.7.5", "tlsa_lookup")
	if mx, other := w.mx.Counts().Accepted, w.other.Counts().Accepted; mx+other > 0 {
		t.Errorf("%d and %d connections to hosts of which DNSSEC says that they are not to be believed", mx, other)
	}

	deferred("wrongkey.secure.example", "4.7.5", "tls_failed")
	if n := w.other.Counts().Messages; n > 0 {
		t.Errorf("%d messages at a host with the wrong key", n)
	}

	id := suite.Submit(ctx, t, mail, []byte(message), "a@sender.example", "b@secure.example")
	r := suite.Await(ctx, t, mail, id, "done", suite.Done).GetRecipients()[0]
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED {
		t.Fatalf("recipient %v, want delivered", r)
	}
	if used := r.GetAttempts()[0].GetHosts()[0].GetTls(); used.GetPolicy() != "dane" || !used.GetVerified() {
		t.Errorf("delivered under %v, want DANE, verified", used)
	}
	got := w.mx.Wait(1, 30*time.Second)
	if len(got) != 1 || got[0].TLS == nil || got[0].TLS.ServerName != "mx.secure.example" {
		t.Errorf("mx has %d messages, the first under %+v, want one under TLS by its name", len(got), got[0].TLS)
	}
}

// tried holds when the recipient was tried and is not under way any more.
func tried(m *gatewayv1.Message) bool {
	r := m.GetRecipients()[0]
	return r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_QUEUED && r.GetStatus() != ""
}
