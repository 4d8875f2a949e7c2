// SPDX-License-Identifier: Apache-2.0

package grpcurl_test

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestGrpcurlListsAndSubmits(t *testing.T) {
	host := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.recipient.example"})
	dns := dnstest.Start(t, "recipient.example MX 10 mx.recipient.example\nmx.recipient.example A 127.0.0.1\n")
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dns.Addr().String()},
		"sender.smtp_port": host.Addr().Port(),
	}})

	listed := grpcurl(t, s.Gateway, "list")
	for _, service := range []string{
		"postrider.gateway.v1.MailService", "postrider.gateway.v1.QueueService", "postrider.resolver.v1.ResolverService",
		"postrider.sender.v1.SenderService", "postrider.dsn.v1.DsnService", "grpc.health.v1.Health",
	} {
		if !strings.Contains(listed, service+"\n") {
			t.Errorf("%s is not listed:\n%s", service, listed)
		}
	}

	content := "From: a@sender.example\r\nSubject: by hand\r\n\r\nHello.\r\n"
	answer := grpcurl(t, "-d", `{"envelope": {"sender": "a@sender.example", "recipients": [{"address": "b@recipient.example"}]},
		"content": "`+base64.StdEncoding.EncodeToString([]byte(content))+`"}`,
		s.Gateway, "postrider.gateway.v1.MailService/Submit")
	var submitted struct {
		Accepted struct{ MessageID string }
	}
	if err := json.Unmarshal([]byte(answer), &submitted); err != nil || submitted.Accepted.MessageID == "" {
		t.Fatalf("answer %s: %v", answer, err)
	}
	got := host.Wait(1, 30*time.Second)[0]
	if got.From != "a@sender.example" || !strings.HasSuffix(string(got.Data), "\r\n\r\nHello.\r\n") {
		t.Errorf("delivered from %q: %q", got.From, got.Data)
	}
}

func grpcurl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), suite.Program(t, "grpcurl"), append([]string{"-plaintext"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("grpcurl %q: %v\n%s", args, err, out)
	}
	return string(out)
}
