// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/services/resolver/internal/specialaddr"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const policyHost = "mta-sts.example.test"

// loopbackZone has the policy hosts of the tests.
const loopbackZone = `
	_mta-sts.example.test  TXT "v=STSv1; id=1;"
	mta-sts.example.test   A 127.0.0.1
	mta-sts.alias.test     CNAME mta-sts.example.test
	mta-sts.private.test   A 169.254.0.1
`

func dnsOver(t *testing.T, srv *dnstest.Server, now func() time.Time) dnsquery.Querier {
	t.Helper()
	servers := []netip.AddrPort{srv.Addr()}
	x := dnsexchange.New(dnsexchange.Options{
		Servers: servers, Prefer: dnstransport.UDP, Timeouts: dnsexchange.DefaultTimeouts(), Now: now,
		Health: serverhealth.New(servers, nil, nil),
	})
	t.Cleanup(x.Close)
	cache := dnscache.New(dnscache.Options{Entries: 1000, Now: now})
	return cache.Over(cache.Keep(x))
}

// web is an HTTPS server with a certificate.
func web(t *testing.T, cert tls.Certificate, handler http.HandlerFunc) uint16 {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-ended
	})
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func issue(t *testing.T, ca *smtptest.CA, o smtptest.CertOptions) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func serve(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

func loopback() specialaddr.Guard {
	return specialaddr.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

func TestR46_Fetch(t *testing.T) {
	ca := smtptest.NewCA(t)
	good := issue(t, ca, smtptest.CertOptions{Names: []string{policyHost}})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write([]byte(goodPolicy))
	_ = zip.Close()
	for name, c := range map[string]struct {
		cert    tls.Certificate
		handler http.HandlerFunc
		problem string // empty: taken
	}{
		"good":                {good, serve("text/plain", goodPolicy), ""},
		"CRLF":                {good, serve("text/plain; charset=utf-8", strings.ReplaceAll(goodPolicy, "\n", "\r\n")), ""},
		"as large as allowed": {good, serve("text/plain", goodPolicy+strings.Repeat("x: y\n", (MaxSize-len(goodPolicy))/5)), ""},
		"64 KiB and more":     {good, serve("text/plain", goodPolicy+strings.Repeat("x: y\n", MaxSize/5)), "larger than 64 KiB"},
		"10 MB":               {good, serve("text/plain", strings.Repeat("x", 10<<20)), "larger than 64 KiB"},
		"HTML":                {good, serve("text/html", goodPolicy), "not text/plain"},
		"no content type":     {good, serve("", goodPolicy), "not text/plain"},
		"packed without being asked": {good, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		}, "cannot be read"},
		"not found":  {good, http.NotFound, "status 404"},
		"no content": {good, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "status 204"},
		"redirect": {good, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+policyHost+"/elsewhere.txt", http.StatusMovedPermanently)
		}, "redirects"},
		"no policy":               {good, serve("text/plain", "hello\n"), "cannot be read"},
		"expired certificate":     {issue(t, ca, smtptest.CertOptions{Names: []string{policyHost}, NotAfter: time.Now().Add(-time.Hour)}), serve("text/plain", goodPolicy), "certificate"},
		"not yet valid":           {issue(t, ca, smtptest.CertOptions{Names: []string{policyHost}, NotBefore: time.Now().Add(time.Hour)}), serve("text/plain", goodPolicy), "certificate"},
		"wrong name":              {issue(t, ca, smtptest.CertOptions{Names: []string{"example.test"}}), serve("text/plain", goodPolicy), "certificate"},
		"strange authority":       {issue(t, smtptest.NewCA(t), smtptest.CertOptions{Names: []string{policyHost}}), serve("text/plain", goodPolicy), "certificate"},
		"hangs before the header": {good, func(http.ResponseWriter, *http.Request) { <-hang }, "in time"},
		"hangs in the body": {good, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, goodPolicy)
			_ = http.NewResponseController(w).Flush()
			<-hang
		}, "in time"},
		"aborted": {good, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "could not be fetched"},
		"endless header": {good, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 40 {
				w.Header().Add("X-Filler", strings.Repeat(string(rune('a'+i%26)), 4000))
			}
		}, "could not be fetched"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 10)
			port := web(t, c.cert, func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Host + r.URL.Path
				c.handler(w, r)
			})
			f := &Fetcher{
				DNS: dnsOver(t, dnstest.Start(t, loopbackZone), nil), Guard: loopback(), Timeout: 20 * time.Second, Port: port, Roots: ca.Pool(),
			}
			if strings.HasPrefix(name, "hangs") {
				f.Timeout = 400 * time.Millisecond
			}
			p, err := f.Fetch(t.Context(), "example.test")
			if c.problem == "" {
				if err != nil || p.Mode != Enforce {
					t.Fatalf("%+v, %v", p, err)
				}
				if got, want := <-asked, policyHost+"/.well-known/mta-sts.txt"; got != want || len(asked) != 0 {
					t.Errorf("asked for %q, want %q", got, want)
				}
				return
			}
			fault, ok := errors.AsType[*FetchError](err)
			if !ok || !strings.Contains(fault.Problem, c.problem) {
				t.Errorf("%v, want a problem with %q", err, c.problem)
			}
		})
	}
}

func TestR46_PolicyHost(t *testing.T) {
	ca := smtptest.NewCA(t)
	srv := dnstest.Start(t, loopbackZone)
	port := web(t, issue(t, ca, smtptest.CertOptions{Names: []string{policyHost, "mta-sts.alias.test"}}), serve("text/plain", goodPolicy))
	f := &Fetcher{DNS: dnsOver(t, srv, nil), Guard: loopback(), Timeout: 20 * time.Second, Port: port, Roots: ca.Pool()}
	if _, err := f.Fetch(t.Context(), "alias.test"); err != nil {
		t.Errorf("policy host that is an alias: %v", err)
	}
	closed := *f
	closed.Port = smtptest.Refuse(t, netip.MustParseAddrPort("127.0.0.1:0")).Port()
	fail := func(name string, f *Fetcher, domain, problem string) {
		t.Helper()
		fault, ok := errors.AsType[*FetchError](func() error { _, err := f.Fetch(t.Context(), domain); return err }())
		if !ok || !strings.Contains(fault.Problem, problem) {
			t.Errorf("%s: %v", name, fault)
		}
	}
	fail("no such host", f, "nowhere.test", "no address")
	fail("special address", f, "private.test", "no address")
	fail("closed port", &closed, "example.test", "reached")
	guarded := *f
	guarded.Guard = specialaddr.Guard{}
	fail("loopback not allowed", &guarded, "example.test", "no address")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Fetch(ctx, "example.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("caller gave up: %v", err)
	}
}

// A port that speaks no TLS.
func TestR46_NotTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.example.test ESMTP\r\n")
			_ = c.Close()
		}
	}()
	f := &Fetcher{
		DNS: dnsOver(t, dnstest.Start(t, loopbackZone), nil), Guard: loopback(), Timeout: 20 * time.Second,
		Port: netip.MustParseAddrPort(l.Addr().String()).Port(),
	}
	if _, err := f.Fetch(t.Context(), "example.test"); err == nil {
		t.Error("fetched")
	}
}
