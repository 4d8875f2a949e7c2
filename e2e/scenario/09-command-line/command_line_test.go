// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const zone = `
recipient.example     MX 10 mx.recipient.example
mx.recipient.example  A  127.0.0.1
null.example          MX 0 .
`

// bench is a running suite with one receiving host and two tokens.
type bench struct {
	server                string
	host                  *smtptest.Host
	submit, operate, null string // token files
}

func start(t *testing.T) *bench {
	b := &bench{host: smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.recipient.example"})}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.yaml")
	b.submit, b.operate, b.null = filepath.Join(dir, "submit"), filepath.Join(dir, "operate"), filepath.Join(dir, "null")
	write(t, b.null, "null-token\n")
	write(t, b.submit, "shop-token\n")
	write(t, b.operate, "ops-token\n")
	write(t, tokens, fmt.Sprintf("- name: shop\n  sha256: %x\n  rights: [submit]\n- name: ops\n  sha256: %x\n  rights: [operator]\n"+
		"- name: reporter\n  sha256: %x\n  rights: [submit, null_sender]\n",
		sha256.Sum256([]byte("shop-token")), sha256.Sum256([]byte("ops-token")), sha256.Sum256([]byte("null-token"))))
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers":    []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port":    b.host.Addr().Port(),
		"gateway.tokens_file": tokens,
	}})
	b.server = s.Gateway
	return b
}

func TestSendStatusRoute(t *testing.T) {
	b := start(t)
	file := filepath.Join(t.TempDir(), "m.eml")
	write(t, file, "From: a@sender.example\nSubject: hello\nMessage-ID: <cli@sender.example>\n\nText with LF only.\n")

	sent := struct {
		MessageID string `json:"message_id"`
	}{}
	b.json(t, 0, &sent, "send", file, "--from", "a@sender.example", "--to", "b@recipient.example", "--token-file", b.submit)
	got := b.host.Wait(1, 30*time.Second)[0]
	if !strings.HasSuffix(string(got.Data), "\r\n\r\nText with LF only.\r\n") {
		t.Errorf("delivered %q", got.Data)
	}

	status := b.awaitDone(t, sent.MessageID)
	r := status.Recipients[0]
	if r.Address != "b@recipient.example" || r.State != "delivered" || len(r.Attempts) != 1 || r.Attempts[0].Outcome != "delivered" {
		t.Errorf("status %+v", status)
	}
	if h := r.Attempts[0].Hosts; len(h) != 1 || h[0].Host != "mx.recipient.example" || h[0].Address != b.host.Addr().String() {
		t.Errorf("hosts %+v", h)
	}
	text, _ := b.run(t, 0, "status", sent.MessageID, "--token-file", b.submit)
	if !strings.Contains(text, "b@recipient.example  delivered") || !strings.Contains(text, "mx.recipient.example") {
		t.Errorf("status in words:\n%s", text)
	}

	text, _ = b.run(t, 0, "route", "recipient.example", "--token-file", b.operate)
	if !strings.Contains(text, "mx.recipient.example") || !strings.Contains(text, "127.0.0.1") {
		t.Errorf("route:\n%s", text)
	}
	route := struct {
		Failure struct{ Status, Reason string }
	}{}
	b.json(t, 1, &route, "route", "null.example", "--token-file", b.operate)
	if route.Failure.Status != "5.1.10" || route.Failure.Reason != "null_mx" {
		t.Errorf("route to a null MX: %+v", route)
	}
	if text, _ = b.run(t, 0, "health"); text != "serving\n" {
		t.Errorf("health: %q", text)
	}
}

// TestDSNPreview: which notification the outcomes of a message make.
func TestDSNPreview(t *testing.T) {
	b := start(t)
	file := filepath.Join(t.TempDir(), "m.eml")
	write(t, file, "From: a@sender.example\nSubject: hello\n\nText.\n")
	for sender, want := range map[string]string{"b@recipient.example": "due", "": "null_sender"} {
		preview := struct {
			Decisions []struct {
				Kind, Reason, Message string
				Due                   bool
				Recipients            []string
			}
		}{}
		token := b.submit
		if sender == "" {
			token = b.null
		}
		out, _ := b.run(t, 0, "send", file, "--from", sender, "--to", "b@null.example", "--token-file", token)
		id := strings.TrimSpace(out)
		b.awaitDoneAs(t, id, token)
		b.json(t, 0, &preview, "dsn", "preview", id, "--token-file", b.operate)
		if d := preview.Decisions; len(d) != 1 || d[0].Reason != want || d[0].Kind != "failed" || d[0].Recipients[0] != "b@null.example" ||
			strings.Contains(d[0].Message, "multipart/report") != (want == "due") {
			t.Errorf("from %q: %+v", sender, d)
		}
		if text, _ := b.run(t, 0, "dsn", "preview", "--message", id, "--token-file", b.operate); !strings.Contains(text, "failed notification about b@null.example") {
			t.Errorf("in words:\n%s", text)
		}
	}
	if text, _ := b.run(t, 1, "dsn", "preview", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--token-file", b.operate); text != "" {
		t.Errorf("of nothing:\n%s", text)
	}
}

func TestListWatchLanes(t *testing.T) {
	b := start(t)
	file := filepath.Join(t.TempDir(), "m.eml")
	write(t, file, "From: a@sender.example\nSubject: hello\n\nText.\n")
	send := func(tag string) (id string) {
		out, _ := b.run(t, 0, "send", file, "--from", "a@sender.example", "--to", "b@recipient.example", "--tag", tag, "--token-file", b.submit)
		return strings.TrimSpace(out)
	}
	first, second := send("one"), send("two")
	b.awaitDone(t, first)
	b.awaitDone(t, second)

	list := struct {
		Messages []struct {
			MessageID string `json:"message_id"`
		}
	}{}
	b.json(t, 0, &list, "list", "--token-file", b.operate)
	if len(list.Messages) != 2 || list.Messages[0].MessageID != second || list.Messages[1].MessageID != first {
		t.Errorf("list %+v, want the newest first", list)
	}
	b.json(t, 0, &list, "list", "--tag", "one", "--state", "delivered", "--token-file", b.operate)
	if len(list.Messages) != 1 || list.Messages[0].MessageID != first {
		t.Errorf("list by tag %+v", list)
	}
	if text, _ := b.run(t, 0, "list", "--limit", "1", "--token-file", b.operate); !strings.Contains(text, second) || strings.Contains(text, first) {
		t.Errorf("list in words:\n%s", text)
	}
	b.run(t, 1, "list", "--state", "nonsense", "--token-file", b.operate)

	lanes := struct{ Lanes []struct{ Site string } }{}
	b.json(t, 0, &lanes, "queue", "lanes", "--token-file", b.operate)

	b.watchOne(t, send)
}

// watchOne wants to see a message settled. Watching begins some time after the command was started, so messages are
// sent until one is seen.
func (b *bench) watchOne(t *testing.T, send func(tag string) string) {
	t.Helper()
	events := b.watch(t)
	sent := map[string]bool{}
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for range 60 {
		sent[send("watched")] = true
		for seen := true; seen; {
			select {
			case e := <-events:
				if !sent[e.MessageID] {
					t.Fatalf("event of %q, which was not sent since", e.MessageID)
				}
				if e.Kind == "settled" {
					return
				}
			case <-again.C:
				seen = false
			}
		}
	}
	t.Fatal("no message was seen to settle")
}

type event struct {
	MessageID string `json:"message_id"`
	Kind      string
}

// watch runs `postrider watch` until the test ends. The channel is closed with it.
func (b *bench) watch(t *testing.T) <-chan event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, suite.Program(t, "postrider"), "watch", "--json", "--token-file", b.operate)
	cmd.Env = append(os.Environ(), "POSTRIDER_SERVER="+b.server)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		for decoder := json.NewDecoder(out); ; {
			var e event
			if decoder.Decode(&e) != nil {
				return
			}
			events <- e
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = cmd.Wait() // it was killed
	})
	return events
}

func TestRefusalsAreTyped(t *testing.T) {
	b := start(t)
	dir := t.TempDir()
	good, mixed, headless, huge := filepath.Join(dir, "good"), filepath.Join(dir, "mixed"), filepath.Join(dir, "headless"), filepath.Join(dir, "huge")
	write(t, good, "From: a@sender.example\n\nText.\n")
	write(t, mixed, "From: a@sender.example\r\n\nText.\n")
	write(t, headless, "\nno header at all\n")
	write(t, huge, "From: a@sender.example\n\n"+strings.Repeat(strings.Repeat("x", 75)+"\n", 51<<20/76))
	wrong := filepath.Join(dir, "wrong-token")
	write(t, wrong, "no-such-token")
	from, to := []string{"--from", "a@sender.example"}, []string{"--to", "b@recipient.example"}

	for _, c := range []struct {
		name           string
		args           []string
		code, reason   string
		enhanced, hint string
	}{
		{"no token", cat("send", good, from, to), "UNAUTHENTICATED", "TOKEN_MISSING", "5.7.0", ""},
		{"wrong token", cat("send", good, from, to, "--token-file", wrong), "UNAUTHENTICATED", "TOKEN_INVALID", "5.7.8", ""},
		{"right missing", cat("send", good, from, to, "--token-file", b.operate), "PERMISSION_DENIED", "RIGHT_MISSING", "5.7.1", ""},
		{"null sender without the right", cat("send", good, "--from", "", to, "--token-file", b.submit), "PERMISSION_DENIED", "", "5.7.1", ""},
		{"line end in an address", cat("send", good, from, "--to", "b@recipient.example\r\nRCPT TO:<c@x.example>", "--token-file", b.submit), "INVALID_ARGUMENT", "", "5.1.3", "recipients[0]"},
		{"no header", cat("send", headless, from, to, "--token-file", b.submit), "INVALID_ARGUMENT", "", "5.6.0", ""},
		{"too large", cat("send", huge, from, to, "--token-file", b.submit), "INVALID_ARGUMENT", "MESSAGE_TOO_LARGE", "5.3.4", ""},
		{"mixed line ends", cat("send", mixed, from, to, "--token-file", b.submit), "INVALID_ARGUMENT", "BARE_NEWLINE", "", ""},
		{"no file", cat("send", filepath.Join(dir, "none"), from, to, "--token-file", b.submit), "INVALID_ARGUMENT", "FILE_UNREADABLE", "", ""},
		{"no token file", cat("send", good, from, to, "--token-file", filepath.Join(dir, "none")), "INVALID_ARGUMENT", "TOKEN_FILE", "", ""},
		{"NOTIFY word", cat("send", good, from, to, "--notify", "always", "--token-file", b.submit), "INVALID_ARGUMENT", "INVALID_NOTIFY", "", ""},
		{"unreachable server", cat("send", good, from, to, "--token-file", b.submit, "--server", closedPort(t)), "UNAVAILABLE", "SERVER_UNREACHABLE", "", ""},
		{"unknown id", cat("status", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--token-file", b.submit), "NOT_FOUND", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused := struct {
				Error struct {
					Code, Reason, Enhanced, Message string
					Fields                          []struct{ Field, Description string }
				}
			}{}
			b.json(t, 1, &refused, c.args...)
			e := refused.Error
			if e.Code != c.code || (c.reason != "" && e.Reason != c.reason) || e.Reason == "" || e.Enhanced != c.enhanced || e.Message == "" ||
				strings.Contains(e.Message, "rpc error") || strings.Contains(e.Message, "internal error") {
				t.Errorf("got %+v, want %s %s %s", e, c.code, c.reason, c.enhanced)
			}
			if c.hint != "" && (len(e.Fields) == 0 || !strings.Contains(e.Fields[0].Field, c.hint)) {
				t.Errorf("fields %+v do not name %s", e.Fields, c.hint)
			}
		})
	}
	if _, stderr := b.run(t, 1, cat("send", mixed, from, to, "--token-file", b.submit)...); !strings.Contains(stderr, "mixes CRLF") {
		t.Errorf("mixed line endings: %q", stderr)
	}
	if _, stderr := b.run(t, 1, "health", "--server", closedPort(t)); !strings.Contains(stderr, "cannot reach 127.0.0.1:") || strings.Contains(stderr, "UNAVAILABLE") {
		t.Errorf("unreachable server: %q", stderr)
	}
	b.run(t, 2, "no-such-command")
	if n := b.host.Counts().Messages; n != 0 {
		t.Errorf("%d refused messages were delivered", n)
	}
}

// closedPort is an address on loopback where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func TestVersionJSON(t *testing.T) {
	version := struct{ Version string }{}
	(&bench{}).json(t, 0, &version, "version")
	if version.Version == "" {
		t.Error("no version")
	}
}

type status struct {
	State      string
	Recipients []struct {
		Address, State string
		Attempts       []struct {
			Outcome string
			Hosts   []struct{ Host, Address string }
		}
	}
}

func (b *bench) awaitDone(t *testing.T, id string) status { return b.awaitDoneAs(t, id, b.submit) }

// awaitDoneAs asks as who submitted the message.
func (b *bench) awaitDoneAs(t *testing.T, id, token string) (s status) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		s = status{}
		if b.json(t, 0, &s, "status", id, "--token-file", token); s.State == "done" {
			return s
		}
	}
	t.Fatalf("message %s is not done: %+v", id, s)
	return s
}

// json runs a command with --json and decodes what it prints.
func (b *bench) json(t *testing.T, exit int, into any, args ...string) {
	t.Helper()
	out, stderr := b.run(t, exit, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%q printed %q: %v\n%s", args, out, err, stderr)
	}
}

func (b *bench) run(t *testing.T, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), args...)
	cmd.Env = append(os.Environ(), "POSTRIDER_SERVER="+b.server)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("postrider %q ended with %d, want %d\n%s%s", args, got, exit, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// cat joins words and lists of words.
func cat(parts ...any) []string {
	var all []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			all = append(all, p)
		case []string:
			all = append(all, p...)
		}
	}
	return all
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
