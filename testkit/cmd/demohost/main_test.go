// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const limit = 10 * time.Second

// play runs a part until the end of the test and returns where it listens, and its lines behind the first.
func play(t *testing.T, args ...string) (address string, lines <-chan map[string]any) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, args, w)
		_ = w.CloseWithError(io.EOF)
		ended <- err
	}()
	all := make(chan map[string]any, 100)
	go func() {
		defer close(all)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			var line map[string]any
			_ = json.Unmarshal(scanner.Bytes(), &line) // a line that is none has no message, and the test fails for that
			all <- line
		}
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	first := next(t, all, "serving")
	for _, key := range []string{"smtp", "dns"} {
		if at, ok := first[key].(string); ok {
			return at, all
		}
	}
	t.Fatalf("does not say where it listens: %v", first)
	return "", nil
}

func next(t *testing.T, lines <-chan map[string]any, msg string) map[string]any {
	t.Helper()
	select {
	case line := <-lines:
		if line["msg"] != msg {
			t.Fatalf("line %v, want %q", line, msg)
		}
		return line
	case <-time.After(limit):
		t.Fatalf("no line %q within %s", msg, limit)
		return nil
	}
}

func send(address string, auth smtp.Auth) error {
	body := "From: a@sender.example\r\nSubject: hello\r\nMessage-ID: <1@sender.example>\r\n\r\nhi\r\n"
	conn, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit)) // a connection just made takes it
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if auth != nil {
		if err := client.Auth(auth); err != nil {
			return err
		}
	}
	err = errors.Join(client.Mail("a@sender.example"), client.Rcpt("b@recipient.example"))
	if err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, body); err != nil {
		return err
	}
	return w.Close()
}

func code(err error) int {
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return e.Code
	}
	return 0
}

func TestTakeTellsOfTheMessageWithoutPeople(t *testing.T) {
	address, lines := play(t, "mail", "127.0.0.1:0", "mx.example", "take")
	if err := send(address, nil); err != nil {
		t.Fatal(err)
	}
	line := next(t, lines, "took")
	if line["message_id"] != "<1@sender.example>" || line["subject"] != "hello" || line["recipients"] != 1.0 || line["null_sender"] != false || line["sha256"] == "" {
		t.Errorf("line %v", line)
	}
	for key, value := range line {
		if text, ok := value.(string); ok && (strings.Contains(text, "a@") || strings.Contains(text, "b@")) {
			t.Errorf("%s tells an address: %s", key, text)
		}
	}
}

func TestRefuseRecipients(t *testing.T) {
	address, _ := play(t, "mail", "127.0.0.1:0", "mx.example", "refuse-recipients")
	if err := send(address, nil); code(err) != 550 {
		t.Errorf("got %v", err)
	}
}

func TestSilentSaysNothing(t *testing.T) {
	address, _ := play(t, "mail", "127.0.0.1:0", "mx.example", "silent")
	if err := health(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestRelayWantsUserAndPassword(t *testing.T) {
	address, lines := play(t, "mail", "127.0.0.1:0", "relay.example", "relay")
	if err := send(address, smtp.PlainAuth("", "me", "secret", "localhost")); err != nil {
		t.Fatal(err)
	}
	next(t, lines, "took")
	if err := send(address, smtp.PlainAuth("", "me", "", "localhost")); code(err) != 535 {
		t.Errorf("without a password: %v", err)
	}
}

func TestReturnAnswersWhatTheNextServerSays(t *testing.T) {
	taking, taken := play(t, "mail", "127.0.0.1:0", "mx.example", "take")
	refusing, _ := play(t, "mail", "127.0.0.1:0", "mx.example", "refuse-recipients")
	for name, tc := range map[string]struct {
		next string
		code int
	}{"taken": {taking, 0}, "refused": {refusing, 550}, "away": {"127.0.0.1:1", 451}} {
		t.Run(name, func(t *testing.T) {
			address, lines := play(t, "mail", "127.0.0.1:0", "mirror.example", "return="+tc.next)
			if err := send(address, nil); code(err) != tc.code || (err == nil) != (tc.code == 0) {
				t.Errorf("got %v", err)
			}
			next(t, lines, "returned")
		})
	}
	if line := next(t, taken, "took"); line["message_id"] != "<1@sender.example>" {
		t.Errorf("line %v", line)
	}
}

func TestDNS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.txt")
	if err := os.WriteFile(file, []byte("a.example A 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, _ := play(t, "dns", "127.0.0.1:0", file)
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
	got, err := r.LookupHost(t.Context(), "a.example.")
	if err != nil || len(got) != 1 || got[0] != "192.0.2.1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"mail"},
		{"mail", "127.0.0.1:0", "mx", "dance"},
		{"mail", "256.0.0.1:0", "mx", "take"},
		{"dns", "127.0.0.1", "x"},
		{"dns", "127.0.0.1:0", "/does/not/exist"},
		{"health", "127.0.0.1:1"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
