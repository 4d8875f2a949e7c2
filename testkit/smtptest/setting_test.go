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

func TestRefuseAtAndRelease(t *testing.T) {
	t.Parallel()
	held, release, err := RefuseAt(mustAddr(t, "127.0.0.3:0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", held.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
	if _, _, err := RefuseAt(held); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("held twice: %v", err)
	}
	release()
	h := NewHost(t, HostOptions{Name: "mx3", ListenAddr: held.String()})
	if h.Addr() != held || h.Name() != "mx3" {
		t.Errorf("host %s on %s", h.Name(), h.Addr())
	}
}

func TestWaitFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(h *Host){
		"Wait":       func(h *Host) { h.Wait(1, time.Millisecond) },
		"WaitClosed": func(h *Host) { h.WaitClosed(1, time.Millisecond) },
	} {
		rec := &recorder{TB: t}
		h := NewHost(rec, HostOptions{})
		done := make(chan struct{})
		go func() { defer close(done); wait(h) }()
		<-done
		rec.end()
		if got := rec.all(); !strings.Contains(got, "deadline exceeded with {Accepted:0") {
			t.Errorf("%s reported %q", name, got)
		}
	}
	h, err := StartHost(HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if got := h.Wait(1, time.Millisecond); len(got) != 0 {
		t.Errorf("messages %+v", got)
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(rec *recorder){
		"host":     func(rec *recorder) { NewHost(rec, HostOptions{ListenAddr: "256.0.0.1:0"}) },
		"port":     func(rec *recorder) { SharedPort(rec, "256.0.0.1") },
		"script":   func(rec *recorder) { Serve(rec) },
		"network":  func(rec *recorder) { NewNetwork(rec).Listen("nowhere") },
		"no place": func(rec *recorder) { BlackHole(rec, mustAddr(t, "192.0.2.1:25")) },
	} {
		rec := &recorder{TB: t}
		done := make(chan struct{})
		go func() { defer close(done); start(rec) }()
		<-done
		rec.end()
		if !strings.Contains(rec.all(), "smtptest: ") {
			t.Errorf("%s reported %q", name, rec.all())
		}
	}
}
