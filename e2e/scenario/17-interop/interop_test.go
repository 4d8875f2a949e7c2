// SPDX-License-Identifier: Apache-2.0

//go:build debian

package interop_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED

	limit  = 2 * time.Minute
	pauses = 6 // of a second, before those of an hour
)

// receivers are the mail servers. Each listens on two addresses: with STARTTLS, and in clear at plain.DOMAIN.
var receivers = []struct {
	name, command, tls, plain string
}{
	{"postfix", "postfix start-fg", "127.0.0.2", "127.0.0.3"},
	{"exim", "exim4 -bdf -q10m", "127.0.0.4", "127.0.0.5"},
	{"opensmtpd", "smtpd -dv", "127.0.0.6", "127.0.0.7"},
}

const homeAddress = "127.0.0.40" // where notifications go

// world is Postrider and the mail servers.
type world struct {
	port  uint16
	mail  gatewayv1.MailServiceClient
	hosts map[string]*host
}

func start(t *testing.T) *world {
	t.Helper()
	packages := unpack(t)
	addresses := []string{homeAddress, sinkAddress(0)}
	zone := "sender.example MX 10 mx.sender.example\nmx.sender.example A " + homeAddress + "\n"
	for _, r := range receivers {
		addresses = append(addresses, r.tls, r.plain)
		zone += fmt.Sprintf("%[1]s.example MX 10 mx.%[1]s.example\nmx.%[1]s.example A %[2]s\n"+
			"plain.%[1]s.example MX 10 clear.%[1]s.example\nclear.%[1]s.example A %[3]s\n", r.name, r.tls, r.plain)
	}
	for i := range sinks {
		zone += fmt.Sprintf("sink%d.example MX 10 mx.sink%[1]d.example\nmx.sink%[1]d.example A %[2]s\n", i, sinkAddress(i))
	}
	port := freePort(t, addresses...)
	smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", ListenAddr: fmt.Sprintf("%s:%d", homeAddress, port)})
	const box = ` = "8:8:/var/mail"`
	boxes := []string{`"ok"` + box, `"grey"` + box}
	for i := range recipients {
		boxes = append(boxes, fmt.Sprintf(`"many%d"`+box, i))
	}
	fill := strings.NewReplacer("@PORT@", fmt.Sprint(port), "@POLICY@", greylist(t), "@BOXES@", strings.Join(boxes, ", "))
	w := &world{port: port, hosts: map[string]*host{}}
	certificate := keyAndCertificate(t)
	for _, r := range receivers {
		w.hosts[r.name] = run(t, packages, r.name, r.name, certificate, fill, r.command)
	}
	w.hosts["sinks"] = run(t, packages, "sinks", "postfix", certificate, fill, sinkCommands(port))
	w.hosts["sinks"].behind = "\r\n"
	for _, r := range receivers {
		for _, address := range []string{r.tls, r.plain} {
			w.hosts[r.name].waitFor(t, fmt.Sprintf("%s:%d", address, port))
		}
	}
	for i := range sinks {
		w.hosts["sinks"].waitFor(t, fmt.Sprintf("%s:%d", sinkAddress(i), port))
	}
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()}, "sender.smtp_port": port,
		"sender.retry.pauses": append(slices.Repeat([]string{"1s"}, pauses), "1h"),
	}})
	w.mail = s.Mail(t)
	return w
}

func sinkAddress(i int) string { return netip.AddrFrom4([4]byte{127, 0, 2, byte(i + 1)}).String() }

// send submits a message and waits until every recipient came to an outcome, a deferral of the wanted attempt included.
func (w *world) send(t *testing.T, m message, attempts int, to ...string) []*gatewayv1.RecipientStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	id := suite.Submit(ctx, t, w.mail, m.content, "a@sender.example", to...)
	got := suite.Await(ctx, t, w.mail, id, "to an outcome", func(m *gatewayv1.Message) bool {
		for _, r := range m.GetRecipients() {
			final := r.GetState() == delivered || r.GetState() == bounced
			if !final && (r.GetState() != deferred || len(r.GetAttempts()) < attempts) {
				return false
			}
		}
		return true
	})
	return got.GetRecipients()
}

// firstTry is the last host that the first attempt at a recipient tried.
func firstTry(r *gatewayv1.RecipientStatus) *eventv1.HostTry {
	if len(r.GetAttempts()) == 0 || len(r.GetAttempts()[0].GetHosts()) == 0 {
		return nil
	}
	hosts := r.GetAttempts()[0].GetHosts()
	return hosts[len(hosts)-1]
}

func TestReceivingHosts(t *testing.T) {
	w := start(t)
	t.Run("hosts", func(t *testing.T) {
		for _, r := range receivers {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				domain, host := r.name+".example", w.hosts[r.name]
				secured := way{version: "TLS 1."}
				if err := handshake(r.tls, w.port); err != nil {
					if r.name != "opensmtpd" { // Debian 12's has a key service that does not work with its OpenSSL
						t.Fatalf("no TLS with %s: %v", r.name, err)
					}
					t.Logf("%s offers STARTTLS and cannot do it: %v", r.name, err)
					secured = way{finding: "TLS handshake failed, sent in clear"} // S-37
				}
				t.Run("in clear", func(t *testing.T) {
					w.takes(t, host, "ok@plain."+domain, way{finding: "STARTTLS not offered"}, hard(t, "clear"))
				})
				t.Run("STARTTLS", func(t *testing.T) { w.takes(t, host, "ok@"+domain, secured, hard(t, "starttls")) })
				t.Run("large", func(t *testing.T) { w.takes(t, host, "ok@"+domain, secured, large(t, "large", 200_000)) })
				t.Run("many recipients", func(t *testing.T) { w.takesMany(t, host, domain) })
				t.Run("SIZE", func(t *testing.T) { w.tooLarge(t, host, domain) })
				t.Run("unknown user", func(t *testing.T) { w.unknownUser(t, domain) })
				t.Run("burst", func(t *testing.T) { w.burst(t, host, domain) })
				t.Run("greylisting", func(t *testing.T) { w.greylisted(t, host, domain) })
			})
		}
		for i := range sinks {
			t.Run("smtp-sink "+strings.Join(sinks[i].flags, " "), func(t *testing.T) {
				t.Parallel()
				w.sink(t, i)
			})
		}
	})
}

// way is how a message went: the beginning of the TLS version, "" for none, and what was found of it.
type way struct{ version, finding string }

// handshake is what STARTTLS with a host comes to, by another client than ours.
func handshake(address string, port uint16) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", address, port), 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	c, err := smtp.NewClient(conn, "mx.example")
	if err != nil {
		return err
	}
	if err := c.Hello("probe.example"); err != nil {
		return err
	}
	return c.StartTLS(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // opportunistic, as ours
}

// takes wants a message delivered at the first attempt and stored as it was sent.
func (w *world) takes(t *testing.T, h *host, to string, how way, m message) {
	t.Helper()
	r := w.send(t, m, 1, to)[0]
	if r.GetState() != delivered || len(r.GetAttempts()) != 1 {
		t.Fatalf("%v, want delivered at the first attempt", r)
	}
	used := firstTry(r).GetTls()
	if v := used.GetVersion(); !strings.HasPrefix(v, how.version) || how.version == "" && v != "" || used.GetFinding() != how.finding {
		t.Errorf("TLS %v, want %+v", used, how)
	}
	h.stored(t, "box/new/*", m, 1)
}

func (w *world) takesMany(t *testing.T, h *host, domain string) {
	m := hard(t, "many")
	var to []string
	for i := range recipients {
		to = append(to, fmt.Sprintf("many%d@%s", i, domain))
	}
	for _, r := range w.send(t, m, 1, to...) {
		if r.GetState() != delivered || len(r.GetAttempts()) != 1 {
			t.Errorf("%v, want delivered at the first attempt", r)
		}
	}
	h.stored(t, "box/new/*", m, recipients)
}

// tooLarge is refused by the host's announced SIZE, before any data (S-45).
func (w *world) tooLarge(t *testing.T, h *host, domain string) {
	m := large(t, "too large", 400_000)
	r := w.send(t, m, 1, "ok@"+domain)[0]
	if r.GetState() != bounced || r.GetStatus() != "5.3.4" || len(r.GetAttempts()) != 1 {
		t.Errorf("%v, want bounced with 5.3.4", r)
	}
	if sent := firstTry(r).GetBytesSent(); sent > 10_000 {
		t.Errorf("%d octets sent to a host that said it takes fewer", sent)
	}
	h.stored(t, "box/new/*", m, 0)
}

func (w *world) unknownUser(t *testing.T, domain string) {
	rs := w.send(t, hard(t, "unknown"), 1, "nobody@"+domain, "ok@"+domain)
	if r := rs[0]; r.GetState() != bounced || r.GetReply().GetCode() != 550 || !strings.HasPrefix(r.GetStatus(), "5.") {
		t.Errorf("%v, want bounced with 550", r)
	}
	if r := rs[1]; r.GetState() != delivered {
		t.Errorf("%v, want the other recipient delivered", r)
	}
}

// burst is many messages at once, over sessions that are kept, the next envelope behind the dot of the one before (S-48,
// S-71): each arrives once and as it was.
func (w *world) burst(t *testing.T, h *host, domain string) {
	const messages = 60
	all := make([]message, messages)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = hard(t, "burst")
		wg.Go(func() {
			r := w.send(t, all[i], pauses, "ok@"+domain)[0] // Exim says 421 to more than 20 sessions
			if r.GetState() != delivered {
				t.Errorf("%v, want delivered", r)
			}
			for _, a := range r.GetAttempts()[:len(r.GetAttempts())-1] {
				if f := a.GetHosts()[len(a.GetHosts())-1].GetFailure(); f.GetReply().GetCode() != 421 {
					t.Errorf("put off by %v, want nothing but 421", f)
				}
			}
		})
	}
	wg.Wait()
	for _, m := range all {
		h.stored(t, "box/new/*", m, 1)
	}
}

func (w *world) greylisted(t *testing.T, h *host, domain string) {
	m := hard(t, "grey")
	r := w.send(t, m, 2, "grey@"+domain)[0]
	if r.GetState() != delivered || len(r.GetAttempts()) != 2 {
		t.Fatalf("%v, want delivered at the second attempt", r)
	}
	if f := firstTry(r).GetFailure(); f.GetReply().GetCode() != 451 || f.GetStatus().GetClass() != 4 {
		t.Errorf("first attempt: %v, want 451", f)
	}
	h.stored(t, "box/new/*", m, 1)
}
