// SPDX-License-Identifier: Apache-2.0

//go:build debian

package interop_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// message is one mail; its first line tells it from all others.
type message struct {
	mark    string
	content []byte
}

// storeLimit is how long a host may take to store what it has accepted.
const storeLimit = 20 * time.Second

func newMessage(t *testing.T, what, body string) message {
	t.Helper()
	m := message{mark: "X-Interop: " + t.Name() + " " + rand.Text() + "\r\n"}
	m.content = []byte(m.mark + "From: a@sender.example\r\nTo: b@recipient.example\r\nSubject: " + what +
		"\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\nMessage-ID: <" + rand.Text() + "@sender.example>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body)
	return m
}

// hard is a message whose lines are easily spoilt on the way.
func hard(t *testing.T, what string) message {
	t.Helper()
	return newMessage(t, what, strings.Join([]string{
		".", "..", "...", ".\t", ".leading dot", "trailing dot.", "", "", "trailing blanks   ", "\ttab\t", "From the beginning of a line",
		">From quoted", "größer, “8 bit”, 日本語", strings.Repeat("x", 998), "." + strings.Repeat("y", 997), "250 OK", "QUIT", "RSET", "-- ", ".", "", "",
	}, "\r\n"))
}

// plain is hard without 8-bit octets.
func plain(t *testing.T, what string) message {
	t.Helper()
	m := hard(t, what)
	m.content = regexp.MustCompile(`[\x80-\xff]`).ReplaceAllLiteral(bytes.ReplaceAll(m.content, []byte("8bit"), []byte("7bit")), []byte("?"))
	return m
}

// large is a message of about size octets.
func large(t *testing.T, what string, size int) message {
	t.Helper()
	random := make([]byte, size*57/78)
	_, _ = rand.Read(random) // it never fails
	var body strings.Builder
	text := base64.StdEncoding.EncodeToString(random)
	for len(text) > 0 {
		n := min(76, len(text))
		body.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return newMessage(t, what, body.String())
}

// stored waits until a message lies copies times in the files that match, and wants each to be what was sent, behind
// trace header fields of the hosts on the way. With no copies it only looks that there is none.
func (h *host) stored(t *testing.T, pattern string, m message, copies int) {
	t.Helper()
	deadline := time.Now().Add(storeLimit)
	var found [][]byte
	for {
		found = h.files(t, pattern, m.mark)
		if len(found) >= copies || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond) // another program's files: nothing tells when they are there
	}
	if len(found) != copies {
		t.Errorf("%d copies stored, want %d", len(found), copies)
	}
	want := sha256.Sum256(m.content)
	for _, file := range found {
		at := bytes.Index(file, []byte(m.mark))
		content := bytes.TrimSuffix(file[at:], []byte(h.behind))
		if got := sha256.Sum256(content); got != want {
			t.Errorf("stored with SHA-256 %x, sent with %x\n%q", got, want, difference(content, m.content))
		}
		for line := range strings.Lines(string(file[:at])) {
			if !traceField.MatchString(line) {
				t.Errorf("in front of the message stands %q", line)
			}
		}
	}
}

// traceField is a line that hosts may put in front of a message, and smtp-sink into its dump.
var traceField = regexp.MustCompile(`^(Received|Return-Path|Delivered-To|X-Original-To|X-Client-\w+|X-Helo-Args|X-Mail-Args|X-Rcpt-Args|Postrider-Trace):|^[ \t]`)

// files are those that hold a mark, with the line ends of the wire.
func (h *host) files(t *testing.T, pattern, mark string) (all [][]byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(h.state, "mail", pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // renamed while we looked
		}
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		if bytes.Contains(text, []byte(mark)) {
			all = append(all, text)
		}
	}
	return all
}

// difference shows where two texts begin to differ.
func difference(got, want []byte) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	show := func(b []byte) []byte { return b[min(max(i-20, 0), len(b)):min(i+60, len(b))] }
	return fmt.Sprintf("at %d of %d and %d: got %q, want %q", i, len(got), len(want), show(got), show(want))
}

// keyAndCertificate are for all hosts, in one file. The key is RSA, the one kind that all of them can use; nobody verifies
// the certificate.
func keyAndCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example"}, DNSNames: []string{"mx.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
}
