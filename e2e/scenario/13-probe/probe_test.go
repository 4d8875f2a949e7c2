// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const zone = `
recipient.example          MX 10 silent.recipient.example
recipient.example          MX 20 closed.recipient.example
recipient.example          MX 30 refusing.recipient.example
recipient.example          MX 40 good.recipient.example
silent.recipient.example   A  127.0.0.2
closed.recipient.example   A  127.0.0.3
refusing.recipient.example A  127.0.0.4
good.recipient.example     A  127.0.0.5
null.example               MX 0 .
special.example            MX 10 mx.special.example
mx.special.example         A  169.254.0.1
`

// world is a suite and the mail hosts of recipient.example.
type world struct {
	sender string // where probes are asked for
	good   *smtptest.Host
	silent *smtptest.Server
}

func start(t *testing.T, shape suite.Shape) *world {
	t.Helper()
	l := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.4", "127.0.0.5")
	port := smtptest.Port(l[0])
	smtptest.Refuse(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), port))
	w := &world{silent: smtptest.ServeOn(t, l[0], func(s *smtptest.Conn) { s.Silent() })}
	smtptest.ServeOn(t, l[1], func(s *smtptest.Conn) {
		s.Send("554 5.7.1 not you\r\n")
		s.Silent()
	})
	w.good = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "good.recipient.example", Listener: l[2], TLS: smtptest.NewCA(t).ServerConfig("good.recipient.example"),
		OnRcpt: func(address string, _ []string) string {
			if strings.HasPrefix(address, "nobody@") {
				return "550 5.1.1 no such user"
			}
			return ""
		},
	})
	s := suite.Start(t, shape, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": port, "sender.timeouts.greeting": "1s",
	}})
	w.sender = s.Gateway
	if p, ok := s.Processes["sender"]; ok {
		line := p.WaitLine(t, "being ready to serve", func(line map[string]any) bool { return line["msg"] == "serving" })
		w.sender = fmt.Sprint(line["grpc"])
	}
	return w
}

// step is one line of probe --json.
type step struct {
	ElapsedMS                  int64 `json:"elapsed_ms"`
	Stage, Host, Address, Text string
	Reply                      *struct {
		Code     int
		Enhanced string
		Lines    []string
	}
	Failure *struct{ Status, Reason, Detail string }
	TLS     *struct {
		Policy, Version, Finding string
		CipherSuite              string `json:"cipher_suite"`
		Verified                 bool
	}
}

// String is the step in short: host, stage, code of the reply, reason of the failure.
func (s step) String() string {
	host, _, _ := strings.Cut(s.Host, ".")
	text := strings.TrimSpace(host + " " + s.Stage)
	if s.Reply != nil {
		text += fmt.Sprint(" ", s.Reply.Code)
	}
	if s.Failure != nil {
		text += " !" + s.Failure.Reason
	}
	return text
}

// postrider runs the command line and wants an exit status.
func postrider(t *testing.T, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = os.Environ(), &out, &errs
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("postrider %q ended with %d, want %d\n%s\n%s", args, got, exit, &out, &errs)
	}
	return out.String(), errs.String()
}

func (w *world) probe(t *testing.T, exit int, args ...string) []step {
	t.Helper()
	out, _ := postrider(t, exit, append([]string{"probe", "--json", "--server", w.sender}, args...)...)
	var steps []step
	for line := range strings.Lines(out) {
		var s step
		strict := json.NewDecoder(strings.NewReader(line))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&s); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		steps = append(steps, s)
	}
	return steps
}

func want(t *testing.T, steps []step, want ...string) {
	t.Helper()
	var got []string
	for _, s := range steps {
		got = append(got, s.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

var others = []string{
	"resolve",
	"silent resolve", "silent connect", "silent greeting !no_greeting", "silent quit !no_greeting",
	"closed resolve", "closed connect !connect", "closed quit !connect",
	"refusing resolve", "refusing connect", "refusing greeting 554 !greeting_refused", "refusing quit !greeting_refused",
	"good resolve", "good connect", "good greeting 220", "good ehlo 250", "good starttls 220", "good tls", "good ehlo 250",
}

func TestProbeAmongMisbehavingHosts(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			w := start(t, shape)
			steps := w.probe(t, 0, "recipient.example", "--mail-from", "a@sender.example", "--rcpt-to", "b@recipient.example")
			want(t, steps, append(slices.Clone(others), "good mail 250", "good rcpt 250", "good quit")...)
			if took := steps[4].ElapsedMS - steps[2].ElapsedMS; took < 900 || took > 20_000 {
				t.Errorf("the silent host took %d ms, its limit is 1 s", took)
			}
			tls := steps[17]
			if tls.TLS == nil || tls.TLS.Version != "TLS 1.3" || tls.TLS.Verified || tls.TLS.Policy != "opportunistic" ||
				!strings.Contains(tls.Text, "certificate for good.recipient.example") {
				t.Errorf("TLS %+v, %q", tls.TLS, tls.Text)
			}

			steps = w.probe(t, 1, "recipient.example", "--rcpt-to", "nobody@recipient.example")
			want(t, steps, append(slices.Clone(others), "good mail 250", "good rcpt 550 !", "good quit !")...)
			if last := steps[len(steps)-1]; !strings.HasPrefix(last.Text, "final") || last.Failure.Status != "5.1.1" {
				t.Errorf("last step %+v", last)
			}

			words, _ := postrider(t, 0, "probe", "--server", w.sender, "recipient.example")
			for _, text := range []string{"silent.recipient.example [127.0.0.2:", "✗ greeting", "554 5.7.1 not you", "usable: the host is ready for mail"} {
				if !strings.Contains(words, text) {
					t.Errorf("%q is missing in\n%s", text, words)
				}
			}
			w.checkNoMail(t)
		})
	}
}

// checkNoMail checks that the host that works was never told DATA.
func (w *world) checkNoMail(t *testing.T) {
	t.Helper()
	for _, c := range w.good.Conns() {
		for _, command := range c.Commands {
			if strings.HasPrefix(strings.ToUpper(command), "DATA") {
				t.Errorf("the probe said %q", command)
			}
		}
	}
	if n := w.good.Counts().Messages; n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestProbeWithoutAWay(t *testing.T) {
	w := start(t, suite.AllInOne)
	want(t, w.probe(t, 1, "null.example"), "resolve !null_mx")
	special := w.probe(t, 1, "special.example")
	if last := special[len(special)-1]; last.Stage != "resolve" || last.Failure == nil || last.Failure.Status != "5.4.4" {
		t.Errorf("special address: %+v", special)
	}
	_, errs := postrider(t, 1, "probe", "--server", w.sender, "recipient.example", "--rcpt-to", "no address")
	if !strings.Contains(errs, "INVALID_ARGUMENT") || !strings.Contains(errs, "rcpt_to") {
		t.Errorf("a recipient that is none: %s", errs)
	}
}

func TestProbeAsksASenderOnly(t *testing.T) {
	s := suite.Start(t, suite.FourProcesses, suite.Options{})
	_, errs := postrider(t, 1, "probe", "--server", s.Gateway, "recipient.example")
	if !strings.Contains(errs, "NOT_THE_SENDER") {
		t.Errorf("the gateway was asked: %s", errs)
	}
}
