// SPDX-License-Identifier: Apache-2.0

//go:build debian

package debianclients_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

// report is what read_report.py found.
type report struct {
	Type       string              `json:"type"`
	ReportType string              `json:"report_type"`
	Parts      []string            `json:"parts"`
	Groups     []map[string]string `json:"groups"`
	Header     map[string]string   `json:"header"`
	To         []string            `json:"to"`
	Text       string              `json:"text"`
}

// read reads a notification with python3 and takes it apart with ripmime.
func read(t *testing.T, bin, file string) report {
	t.Helper()
	var r report
	out := run(t, true, filepath.Join(bin, "python3"), "read_report.py", file)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	dir := t.TempDir()
	run(t, true, filepath.Join(bin, "ripmime"), "-i", file, "-d", dir)
	pieces, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, piece := range pieces {
		data, err := os.ReadFile(piece)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for _, want := range []string{"This is an automatic message", "Final-Recipient: ", "Action: "} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("ripmime found no %q in %d pieces of %s:\n%s", want, len(pieces), file, all.String())
		}
	}
	return r
}

// check wants a report about recipients with one action.
func (r report) check(t *testing.T, to, action string, statuses []string, parts ...string) {
	t.Helper()
	if r.Type != "multipart/report" || r.ReportType != "delivery-status" || !slices.Equal(r.Parts, parts) || !slices.Equal(r.To, []string{to}) {
		t.Errorf("%s; %s, parts %v, to %v; want parts %v, to %s", r.Type, r.ReportType, r.Parts, r.To, parts, to)
	}
	if r.Header["Auto-Submitted"] != "auto-replied" || len(r.Groups) != 1+len(statuses) || r.Groups[0]["reporting-mta"] == "" {
		t.Fatalf("header %v, groups %v", r.Header, r.Groups)
	}
	for i, status := range statuses {
		if g := r.Groups[i+1]; g["action"] != action || g["status"] != status {
			t.Errorf("recipient %d: %v; want %s %s", i, g, action, status)
		}
	}
}

func TestGoldenReportsAreRead(t *testing.T) {
	bin := programs(t)
	files, err := filepath.Glob(filepath.Join(suite.Root(t), "services", "dsn", "internal", "report", "testdata", "golden", "*.eml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("golden files %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if strings.HasPrefix(filepath.Base(file), "list") {
				out := run(t, true, filepath.Join(bin, "python3"), "read_report.py", file)
				if !strings.Contains(out, `"type": "text/plain"`) {
					t.Error(out)
				}
				return
			}
			if r := read(t, bin, file); len(r.Groups) < 2 || !strings.Contains(r.Text, "mail.example.org") {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestReportsOfARunningSuiteAreRead(t *testing.T) {
	bin := programs(t)
	host := smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx.one.example", OnRcpt: refuse, Extensions: []string{"8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"},
	})
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": host.Addr().Port(),
	}})
	mail := s.Mail(t)
	tests := []struct {
		name, from string
		to         []string
		notify     []eventv1.Notify
		ret        eventv1.Ret
		action     string
		statuses   []string
		parts      []string
	}{
		{
			"failed, whole message", "a@sender.example",
			[]string{"nobody@one.example"},
			nil, eventv1.Ret_RET_FULL, "failed",
			[]string{"5.1.1"},
			[]string{"text/plain", "message/delivery-status", "message/rfc822"},
		},
		{
			"failed, two of three", "a@sender.example",
			[]string{"nobody@one.example", "b@one.example", "nobody.else@one.example"},
			nil,
			eventv1.Ret_RET_HDRS, "failed",
			[]string{"5.1.1", "5.1.1"},
			[]string{"text/plain", "message/delivery-status", "text/rfc822-headers"},
		},
		{
			"relayed", "a@sender.example",
			[]string{"b@one.example"},
			[]eventv1.Notify{eventv1.Notify_NOTIFY_SUCCESS},
			eventv1.Ret_RET_UNSPECIFIED, "relayed",
			[]string{"2.0.0"},
			[]string{"text/plain", "message/delivery-status", "text/rfc822-headers"},
		},
		{
			"international", "\u00e4nna@sender.example",
			[]string{"nobody.b\u00f6b@one.example"},
			nil, eventv1.Ret_RET_FULL, "failed",
			[]string{"5.1.1"},
			[]string{"text/plain", "message/global-delivery-status", "message/global"},
		},
	}
	seen := 0
	for i, tt := range tests {
		content := fmt.Sprintf("From: <%s>\r\nSubject: %d Gr\u00fc\u00dfe\r\nMessage-ID: <%d@sender.example>\r\n"+
			"Date: Mon, 02 Nov 2026 09:30:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
			"Content-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe\r\n", tt.from, i, i)
		if tt.name != "international" {
			content = strings.ReplaceAll(content, " Gr\u00fc\u00dfe\r\nM", " Gruesse\r\nM")
		}
		envelope := &gatewayv1.Envelope{Sender: tt.from, Ret: tt.ret, Envid: "order-4711"}
		for _, to := range tt.to {
			envelope.Recipients = append(envelope.Recipients, &gatewayv1.Recipient{Address: to, Notify: tt.notify})
		}
		if _, err := mail.Submit(t.Context(), &gatewayv1.SubmitRequest{Envelope: envelope, Content: []byte(content)}); err != nil {
			t.Fatal(err)
		}
		seen++
		if len(tt.to) > 1 || tt.action == "relayed" {
			seen++ // what was delivered
		}
		var notification []byte
		for _, m := range host.Wait(seen, time.Minute) {
			if m.From == "" && strings.Contains(string(m.Data), fmt.Sprintf("In-Reply-To: <%d@sender.example>", i)) {
				notification = m.Data
			}
		}
		file := filepath.Join(t.TempDir(), "report.eml")
		if err := os.WriteFile(file, notification, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, bin, file)
			r.check(t, tt.from, tt.action, tt.statuses, tt.parts...)
			if r.Groups[0]["original-envelope-id"] != "order-4711" {
				t.Errorf("%v", r.Groups[0])
			}
			t.Logf("%d bytes: %s %v, %v", len(notification), r.Type, r.Parts, r.Groups[1:])
		})
	}
}
