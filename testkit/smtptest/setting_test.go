// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := NewCA(t)
	cert, err := ca.Issue(CertOptions{Names: []string{"mx.example.test", "127.0.0.1"}, NotAfter: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.Certificate) != 2 || !bytes.Equal(cert.Certificate[1], ca.Certificate.Raw) {
		t.Error("the chain does not end in the root")
	}
	if err := cert.Leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if time.Now().Before(cert.Leaf.NotAfter) {
		t.Error("the certificate has not expired")
	}
	if !bytes.HasPrefix(ca.PEM(), []byte("-----BEGIN CERTIFICATE-----")) {
		t.Errorf("PEM %s", ca.PEM())
	}
}

func TestRefuseAddress(t *testing.T) {
	t.Parallel()
	l := SharedPort(t, "127.0.0.2")[0]
	rec := &recorder{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); Refuse(rec, mustAddr(t, l.Addr().String())) }()
	<-done
	if got := rec.all(); !strings.Contains(got, "address already in use") {
		t.Errorf("reported %q", got)
	}
	held := Refuse(t, mustAddr(t, fmt.Sprintf("127.0.0.3:%d", Port(l))))
	if _, err := net.Dial("tcp", held.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	l := SharedPort(t, "127.0.0.2")[0]
	addr := BlackHole(t, mustAddr(t, fmt.Sprintf("127.0.0.4:%d", Port(l))))
	_, err := net.DialTimeout("tcp", addr.String(), 50*time.Millisecond)
	if closeKind(err) != ClosedLimit {
		t.Errorf("dial: %v, want a timeout", err)
	}
}
