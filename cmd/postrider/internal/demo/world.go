// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

// world is the Internet of the demo, on loopback: a DNS server and three mail hosts on one port.
type world struct {
	dns    *dnstest.Server
	port   uint16
	silent *smtptest.Host // mx1: completes the handshake and never says a word
	good   *smtptest.Host // mx3: takes the mail
	close  []func()
}

const zone = `
reader.example      MX  10 mx1.reader.example
reader.example      MX  20 mx2.reader.example
reader.example      MX  30 mx3.reader.example
mx1.reader.example  A   127.0.0.2
mx2.reader.example  A   127.0.0.3
mx3.reader.example  A   127.0.0.4
`

func openWorld() (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if err := w.openDNS(); err != nil {
		return nil, err
	}
	return w, w.openHosts()
}

func (w *world) openDNS() error {
	z, err := dnstest.ParseZone(zone)
	if err != nil {
		return fmt.Errorf("zone of the demo: %w", err)
	}
	if w.dns, err = dnstest.StartServer(dnstest.Options{Zone: z}); err != nil {
		return fmt.Errorf("start the demo's DNS server: %w", err)
	}
	w.close = append(w.close, func() { _ = w.dns.Close() })
	return nil
}

// openHosts takes one port on three loopback addresses; on the second nobody listens.
func (w *world) openHosts() error {
	listeners, err := smtptest.ListenShared("127.0.0.2", "127.0.0.3", "127.0.0.4")
	if err != nil {
		return fmt.Errorf("listen on 127.0.0.2, .3 and .4 (Linux answers on all of 127.0.0.0/8, other systems may not): %w", err)
	}
	w.port = smtptest.Port(listeners[0])
	listeners[1].Close()
	_, release, err := smtptest.RefuseAt(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), w.port))
	if err != nil {
		return fmt.Errorf("hold the address that refuses: %w", err)
	}
	w.close = append(w.close, release)
	w.silent, err = w.host(smtptest.HostOptions{Name: "mx1.reader.example", Listener: listeners[0], SilentGreeting: true})
	if err != nil {
		return err
	}
	ca, err := smtptest.GenerateCA()
	if err != nil {
		return err
	}
	certificate, err := ca.Issue(smtptest.CertOptions{Names: []string{"mx3.reader.example"}})
	if err != nil {
		return err
	}
	w.good, err = w.host(smtptest.HostOptions{
		Name: "mx3.reader.example", Listener: listeners[2],
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	})
	return err
}

func (w *world) host(o smtptest.HostOptions) (*smtptest.Host, error) {
	h, err := smtptest.StartHost(o)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	w.close = append(w.close, h.Close)
	return h, nil
}

// Close ends the hosts and the DNS server.
func (w *world) Close() {
	for i := len(w.close) - 1; i >= 0; i-- {
		w.close[i]()
	}
}
