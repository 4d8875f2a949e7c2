// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestG11_SubmissionNeedsTLSAndAuth(t *testing.T) {
	b := start(t, strangers)
	c := b.greeted()
	c.say("MAIL FROM:<a@example.org>\r\n", "530 5.7.0")
	c.say("AUTH PLAIN "+plain("shop", "secret")+"\r\n", "538 5.7.11")
	c.say("RCPT TO:<b@example.com>\r\n", "503 5.5.1")
	c.say("DATA\r\n", "503 5.5.1")
	c = b.secured()
	c.say("MAIL FROM:<a@example.org>\r\n", "530 5.7.0")
	c.say("AUTH PLAIN "+plain("shop", "wrong")+"\r\n", "535 5.7.8")
	c.say("AUTH PLAIN "+plain("other", "secret")+"\r\n", "535 5.7.8")
	c.say("AUTH PLAIN "+plain("shop", "secret")+"\r\n", "235 2.7.0")
	c.say("AUTH PLAIN "+plain("shop", "secret")+"\r\n", "503 5.5.1")
	c.begin()
	c.say(header+"hi\r\n.\r\n", "250 2.0.0")
	c.say("QUIT\r\n", "221")
	c.closed()
	got := b.sub.all()
	if len(got) != 1 || got[0].caller.Name != "shop" || got[0].relayed {
		t.Fatalf("taken: %+v", got)
	}
	want := "Received: from client.example ([127.0.0.1])\r\n\tby mx.example (Postrider) with ESMTPSA id ID;\r\n\tThu, 01 Jan 1970 00:00:00 +0000\r\n"
	if got[0].received != want {
		t.Errorf("%q, want %q", got[0].received, want)
	}
}

func TestG11_AuthWays(t *testing.T) {
	b := start(t, strangers)
	for name, talk := range map[string][][2]string{
		"PLAIN in two steps": {{"AUTH PLAIN", "334 "}, {plain("shop", "secret"), "235"}},
		"LOGIN":              {{"AUTH LOGIN", "334 VXNlcm5hbWU6"}, {"c2hvcA==", "334 UGFzc3dvcmQ6"}, {"c2VjcmV0", "235"}},
		"LOGIN with user":    {{"auth login c2hvcA==", "334 UGFzc3dvcmQ6"}, {"c2VjcmV0", "235"}},
		"cancelled":          {{"AUTH PLAIN", "334"}, {"*", "501"}, {"NOOP", "250"}},
		"not base64":         {{"AUTH PLAIN !!", "501"}},
		"no parts":           {{"AUTH PLAIN =", "501"}},
		"other identity":     {{"AUTH PLAIN b3RoZXIAc2hvcABzZWNyZXQ=", "501"}},
		"mechanism":          {{"AUTH CRAM-MD5", "504 5.5.4"}},
		"no right to submit": {{"AUTH PLAIN " + plain("watcher", "watch"), "235"}, {"MAIL FROM:<a@example.org>", "550 5.7.1"}},
		"null sender":        {{"AUTH PLAIN " + plain("shop", "secret"), "235"}, {"MAIL FROM:<>", "550 5.7.1"}},
		"three failures":     {{"AUTH PLAIN " + plain("a", "b"), "535"}, {"AUTH PLAIN " + plain("a", "b"), "535"}, {"AUTH PLAIN " + plain("a", "b"), "535"}, {"", "421"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.secured()
			c.t = t
			for _, step := range talk {
				if step[0] != "" {
					c.send(step[0] + "\r\n")
				}
				c.expect(step[1])
			}
		})
	}
}

func TestG11_TrustedNetworkRelaysWithoutTLSAndAuth(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.send("MAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
	c.expect("250")
	c.expect("250")
	c.expect("354")
	c.say("Subject: "+strings.Repeat("x", 3000)+"\r\n\r\nhi\r\n.\r\n", "250")
	got := b.sub.all()
	if len(got) != 1 || got[0].caller.Name != TrustedCaller || !got[0].caller.Has(rpc.RightNullSender) ||
		got[0].caller.Has(rpc.RightOperator) || !got[0].relayed || !strings.Contains(got[0].received, " with ESMTP id ") {
		t.Errorf("taken: %+v", got)
	}
}

// TestG11_InputBehindSTARTTLSIsDiscarded sends commands in the same segment as STARTTLS. Were they kept, the replies to
// the commands inside TLS would be those to them.
func TestG11_InputBehindSTARTTLSIsDiscarded(t *testing.T) {
	b := start(t, strangers)
	c := b.greeted()
	c.say("STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<evil@example.org>\r\n", "220")
	conn := tls.Client(c.conn, b.tls)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c = &client{t: t, conn: conn, r: c.r}
	c.r.Reset(conn)
	c.say("MAIL FROM:<a@example.org>\r\n", "503 5.5.1 EHLO comes first")
	if text := c.say("EHLO client.example\r\n", "250"); strings.Contains(text, "STARTTLS") || !strings.Contains(text, "AUTH PLAIN LOGIN") {
		t.Errorf("inside TLS: %s", text)
	}
	c.say("STARTTLS\r\n", "503")
}

// TestG11_TLSForgetsWhatWasBefore: a message begun in clear text is gone.
func TestG11_TLSForgetsWhatWasBefore(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.say("MAIL FROM:<a@example.org>\r\n", "250")
	c.say("STARTTLS\r\n", "220")
	conn := tls.Client(c.conn, b.tls)
	c = &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.say("RCPT TO:<b@example.com>\r\n", "503 5.5.1 EHLO comes first")
	c.say("EHLO client.example\r\n", "250")
	c.say("RCPT TO:<b@example.com>\r\n", "503 5.5.1 MAIL comes before RCPT")
}

func TestG11_NoPipeliningBeforeEHLO(t *testing.T) {
	for name, text := range map[string]string{
		"behind EHLO": "EHLO client.example\r\nMAIL FROM:<a@example.org>\r\n", "HTTP": "POST / HTTP/1.1\r\nHost: mx.example\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t).dial()
			c.expect("220")
			c.say(text, "503 5.5.1")
			c.closed()
		})
	}
}

func TestG11_Says421OnShutdown(t *testing.T) {
	b := start(t)
	b.sub.reading = make(chan struct{}, 1)
	idle, busy := b.greeted(), b.greeted()
	busy.begin()
	<-b.sub.reading
	b.stop()
	idle.expect("421 4.3.2")
	idle.closed()
	busy.say(header+"hi\r\n.\r\n", "250 2.0.0") // the message under way is ended
	busy.expect("421 4.3.2")
	busy.closed()
	<-b.done
	if conn, err := net.Dial("tcp", b.addr); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

func TestG11_ShutdownDoesNotWaitForEver(t *testing.T) {
	b := start(t, func(o *Options) { o.Grace = time.Millisecond })
	b.sub.reading = make(chan struct{}, 1)
	c := b.greeted()
	c.begin()
	<-b.sub.reading
	b.stop()
	c.expect("421 4.3.2")
	<-b.done
	if got := b.sub.all(); len(got) != 0 {
		t.Errorf("half a message is taken: %+v", got)
	}
}

func TestG11_SilentClientIsLeft(t *testing.T) {
	b := start(t, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	c := b.dial()
	c.expect("220")
	c.expect("421 4.4.2")
	c.closed()
	c = b.greeted()
	c.begin()
	c.send(header + "never ended")
	c.expect("421 4.4.2")
	c.closed()
	if got := b.sub.all(); len(got) != 0 {
		t.Errorf("half a message is taken: %+v", got)
	}
}

func TestG04_TwoThousandRecipients(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.say("MAIL FROM:<a@example.org>\r\n", "250")
	var wg sync.WaitGroup
	wg.Go(func() {
		var text strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&text, "RCPT TO:<user%d@example.com>\r\n", i)
		}
		c.send(text.String())
	})
	for i := range 2000 {
		if i < 1000 {
			c.expect("250 2.1.5")
		} else {
			c.expect("452 4.5.3")
		}
	}
	wg.Wait()
	c.say("DATA\r\n", "354")
	c.say(header+"hi\r\n.\r\n", "250")
	if got := b.sub.all(); len(got) != 1 || len(got[0].envelope.GetRecipients()) != 1000 {
		t.Errorf("%d messages", len(got))
	}
}

// TestG11_EndlessLineIsBounded sends lines without end, as a command and as data.
func TestG11_EndlessLineIsBounded(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.send("NOOP " + strings.Repeat("x", 17<<10))
	c.expect("500 5.5.2")
	c.closed()
	c = b.greeted()
	c.begin()
	go func() {
		for range 100 {
			if _, err := c.conn.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	}()
	if got, err := c.reply(); err == nil && !strings.HasPrefix(got, "552 5.3.4") && !strings.HasPrefix(got, "550 5.6.0") {
		t.Errorf("reply %q", got)
	}
	c.closed()
}

// TestG11_SlowClientsHurtNobody holds sessions open in every state while another one submits.
func TestG11_SlowClientsHurtNobody(t *testing.T) {
	b := start(t)
	for range 10 {
		b.dial().expect("220")
		b.greeted().send("MAIL FR")
		c := b.greeted()
		c.begin()
		c.send("Fr")
		b.greeted().say("STARTTLS\r\n", "220")
	}
	c := b.greeted()
	c.begin()
	c.say(header+"hi\r\n.\r\n", "250")
}

func TestG11_ConnectionsAreBounded(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"in all":      func(o *Options) { o.MaxConnections = 2 },
		"per address": func(o *Options) { o.MaxPerAddress, o.Trusted = 2, nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, change)
			first := b.dial()
			first.expect("220")
			b.dial().expect("220")
			third := b.dial()
			third.expect("421 4.3.2")
			third.closed()
			first.say("QUIT\r\n", "221")
			first.closed()
			for end := time.Now().Add(limit); ; { // the place is free a moment after the connection is closed
				c := b.dial()
				if got, err := c.reply(); err == nil && strings.HasPrefix(got, "220") {
					return
				}
				if time.Now().After(end) {
					t.Fatal("no place becomes free")
				}
			}
		})
	}
}

func TestExtensions(t *testing.T) {
	b := start(t)
	want := "250-mx.example\n250-PIPELINING\n250-SIZE 1048576\n250-8BITMIME\n250-SMTPUTF8\n250-DSN\n250-ENHANCEDSTATUSCODES\n250 STARTTLS"
	if got := b.greeted().say("EHLO [127.0.0.1]\r\n", "250"); got != want {
		t.Errorf("in clear text:\n%s", got)
	}
	want = "250-mx.example\n250-PIPELINING\n250-SIZE 1048576\n250-8BITMIME\n250-SMTPUTF8\n250-DSN\n250-ENHANCEDSTATUSCODES\n250-REQUIRETLS\n250 AUTH PLAIN LOGIN"
	if got := b.secured().say("EHLO [127.0.0.1]\r\n", "250"); got != want {
		t.Errorf("inside TLS:\n%s", got)
	}
}

func TestG17_ParametersReachTheEnvelope(t *testing.T) {
	b := start(t)
	c := b.secured()
	c.say("MAIL FROM:<\"a>b\"@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=x+2By AUTH=<>\r\n", "250")
	c.say("RCPT TO:<\"b c\"@example.com> NOTIFY=SUCCESS,delay ORCPT=rfc822;b+2Bc@example.com\r\n", "250")
	c.say("RCPT TO:<jörg@example.com> NOTIFY=NEVER ORCPT=utf-8;j\\x{F6}rg@example.com\r\n", "250")
	c.say("DATA\r\n", "354")
	c.say(header+"\xc3\xb6\r\n.\r\n", "250")
	got := b.sub.all()
	if len(got) != 1 {
		t.Fatalf("taken: %+v", got)
	}
	e := got[0].envelope
	if e.GetSender() != `"a>b"@example.org` || !e.GetRequireTls() || e.GetRet() != eventv1.Ret_RET_HDRS || e.GetEnvid() != "x+y" {
		t.Errorf("envelope %v", e)
	}
	first, second := e.GetRecipients()[0], e.GetRecipients()[1]
	if first.GetAddress() != `"b c"@example.com` || first.GetOrcpt() != "rfc822;b+c@example.com" ||
		len(first.GetNotify()) != 2 || first.GetNotify()[1] != eventv1.Notify_NOTIFY_DELAY {
		t.Errorf("recipient %v", first)
	}
	if second.GetAddress() != "jörg@example.com" || second.GetOrcpt() != "utf-8;jörg@example.com" || second.GetNotify()[0] != eventv1.Notify_NOTIFY_NEVER {
		t.Errorf("recipient %v", second)
	}
	if !strings.Contains(got[0].received, " with UTF8SMTPS id ") {
		t.Errorf("%q", got[0].received)
	}
}

func TestCommandsOutOfOrder(t *testing.T) {
	b := start(t)
	const mail, rcpt = "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"
	for name, talk := range map[string][][2]string{
		"unknown":             {{"EXPN x", "500 5.5.1"}},
		"empty":               {{"", "500"}},
		"RCPT first":          {{rcpt, "503 5.5.1"}},
		"DATA first":          {{"DATA", "503 5.5.1"}},
		"DATA without RCPT":   {{mail, "250"}, {"DATA", "554 5.5.1"}},
		"DATA with argument":  {{mail, "250"}, {rcpt, "250"}, {"DATA now", "501"}},
		"MAIL twice":          {{mail, "250"}, {mail, "503 5.5.1"}},
		"RSET":                {{mail, "250"}, {"RSET", "250"}, {rcpt, "503"}},
		"EHLO resets":         {{mail, "250"}, {"EHLO c.example", "250"}, {rcpt, "503"}},
		"EHLO without name":   {{"EHLO", "501"}},
		"EHLO with brackets":  {{"EHLO a(b)", "501"}},
		"no brackets":         {{"MAIL FROM:a@example.org", "501"}},
		"no keyword":          {{"MAIL <a@example.org>", "501"}},
		"G01 sender":          {{"MAIL FROM:<a>", "553 5.1.7"}},
		"G01 recipient":       {{mail, "250"}, {"RCPT TO:<b>", "553 5.1.3"}},
		"G01 source route":    {{mail, "250"}, {"RCPT TO:<@x.example:b@example.com>", "553 5.1.3"}},
		"null recipient":      {{mail, "250"}, {"RCPT TO:<>", "553 5.1.3"}},
		"SMTPUTF8 missing":    {{"MAIL FROM:<jörg@example.org>", "553 5.6.7"}},
		"SIZE over the limit": {{mail + " SIZE=1048577", "552 5.3.4"}},
		"SIZE no number":      {{mail + " SIZE=-1", "501"}},
		"BODY":                {{mail + " BODY=BINARYMIME", "501"}},
		"unknown parameter":   {{mail + " X=Y", "555 5.5.4"}},
		"twice":               {{mail + " RET=FULL RET=HDRS", "501 5.5.4"}},
		"REQUIRETLS in clear": {{mail + " REQUIRETLS", "530 5.7.10"}},
		"ENVID":               {{mail + " ENVID=+0A", "501 5.5.4"}},
		"NOTIFY":              {{mail, "250"}, {rcpt + " NOTIFY=NEVER,DELAY", "501 5.5.4"}},
		"ORCPT":               {{mail, "250"}, {rcpt + " ORCPT=b@example.com", "501 5.5.4"}},
		"ORCPT with CRLF":     {{mail, "250"}, {rcpt + " ORCPT=rfc822;a+0D+0Ab", "501 5.5.4"}},
		"BDAT":                {{mail, "250"}, {rcpt, "250"}, {"BDAT 3 LAST", "500"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.greeted()
			c.t = t
			for _, step := range talk {
				c.say(step[0]+"\r\n", step[1])
			}
			c.say("NOOP\r\n", "250")
		})
	}
}

func TestTooManyErrorsEndTheSession(t *testing.T) {
	c := start(t).greeted()
	for range maxErrors {
		c.say("XYZZY\r\n", "500")
	}
	c.expect("421 4.7.0")
	c.closed()
}

// TestG13_RefusedBeforeTheContent: no 354 when the queue takes nothing.
func TestG13_RefusedBeforeTheContent(t *testing.T) {
	for want, err := range map[string]error{
		"452 4.3.1": &rpc.Error{Code: codes.ResourceExhausted, Enhanced: smtpreply.Code(4, 3, 1), Message: "the queue is full"},
		"451 4.3.2": &rpc.Error{Code: codes.Unavailable, Enhanced: smtpreply.Code(4, 3, 2), Message: "away"},
		"554 5.4.6": &rpc.Error{Code: codes.FailedPrecondition, Enhanced: smtpreply.Code(5, 4, 6), Message: "goes in a loop"},
		"451 4.0.0": &rpc.Error{Code: codes.Internal, Message: "internal"},
	} {
		t.Run(want, func(t *testing.T) {
			b := start(t)
			b.sub.before = err
			c := b.greeted()
			c.send(envelopeLines)
			c.expect("250")
			c.expect("250")
			c.expect(want)
			c.say("RSET\r\n", "250")
		})
	}
}

func TestG06_TooLargeIsReadToItsEndAndRefused(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.begin()
	c.say(header+strings.Repeat("0123456789\r\n", 100<<10)+".\r\n", "552 5.3.4")
	c.say("NOOP\r\n", "250")
	if got := b.sub.all(); len(got) != 0 {
		t.Errorf("%d messages", len(got))
	}
}

func TestPanicEndsOneSessionOnly(t *testing.T) {
	b := start(t)
	other, c := b.greeted(), b.greeted()
	c.send("MAIL FROM:<panic@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
	c.closedAtLast()
	other.begin()
	other.say(header+"hi\r\n.\r\n", "250")
}

// closedAtLast reads replies until the connection ends.
func (c *client) closedAtLast() {
	c.t.Helper()
	for range 10 {
		if _, err := c.reply(); err != nil {
			return
		}
	}
	c.t.Error("the connection goes on")
}
