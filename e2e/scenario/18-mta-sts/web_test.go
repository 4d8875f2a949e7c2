// SPDX-License-Identifier: Apache-2.0

package mtasts_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/testkit/smtptest"
)

// web is the HTTPS server of all policy hosts.
type web struct {
	port int
	hang chan struct{} // closed at the end

	mu    sync.Mutex
	files map[string]string // by domain; "" is 404
	asked map[string]int
}

func policy(mode string, mx ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\nmax_age: 86400\r\n"
	for _, m := range mx {
		text += "mx: " + m + "\r\n"
	}
	return text
}

func startWeb(t *testing.T, ca *smtptest.CA) *web {
	t.Helper()
	enforce := policy("enforce", "*.good.example")
	w := &web{hang: make(chan struct{}), asked: map[string]int{}, files: map[string]string{
		"enforce.example": enforce, "change.example": enforce, "kept.example": enforce, "unnamed.example": enforce,
		"strange.example": policy("enforce", "mx.bad.example"), "testing.example": policy("testing", "mx.good.example"),
	}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		o := smtptest.CertOptions{Names: []string{hello.ServerName}}
		switch hello.ServerName {
		case "mta-sts.expired.example":
			o.NotAfter = time.Now().Add(-time.Hour)
		case "mta-sts.wrongname.example":
			o.Names = []string{"mta-sts.example"}
		}
		cert, err := ca.Issue(o)
		return &cert, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().(*net.TCPAddr).Port
	server := &http.Server{Handler: w, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() {
		close(w.hang)
		_ = server.Close()
		<-ended
	})
	return w
}

func (w *web) change(domain, file string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[domain] = file
}

func (w *web) count(domain string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[domain]
}

func (w *web) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	domain := strings.TrimPrefix(in.Host, "mta-sts.")
	w.mu.Lock()
	w.asked[domain]++
	file := w.files[domain]
	w.mu.Unlock()
	out.Header().Set("Content-Type", "text/plain")
	switch {
	case in.URL.Path != "/.well-known/mta-sts.txt":
		http.NotFound(out, in)
	case domain == "redirect.example":
		http.Redirect(out, in, "https://mta-sts.enforce.example/.well-known/mta-sts.txt", http.StatusFound)
	case domain == "hang.example":
		select {
		case <-w.hang:
		case <-in.Context().Done():
		}
	case domain == "large.example":
		_, _ = io.WriteString(out, policy("enforce", "*.good.example")+strings.Repeat("x: y\n", 2<<20)) // 10 MB
	case file == "":
		http.NotFound(out, in)
	default:
		_, _ = io.WriteString(out, file)
	}
}
