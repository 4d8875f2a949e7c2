// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/services/gateway/internal/smtplisten"
)

// validateSMTP checks the keys of the SMTP listener.
func (c *Config) validateSMTP(f *config.Faults) {
	f.Check((c.SMTPTLS.CertFile == "") == (c.SMTPTLS.KeyFile == ""), "gateway.smtp_tls", "cert_file and key_file must be given together")
	for i, text := range c.SMTPTrustedNetworks {
		_, err := parseNetwork(text)
		f.Check(err == nil, fmt.Sprintf("gateway.smtp_trusted_networks[%d]", i), "must be an IP address or a network such as 192.0.2.0/24, not %q", text)
	}
	f.Check(c.SMTPMaxConnections >= 2 && c.SMTPMaxConnections <= 100_000, "gateway.smtp_max_connections",
		"must be between 2 and 100000, not %d", c.SMTPMaxConnections)
	if c.SMTPListen == "" {
		return
	}
	f.Listen("gateway.smtp_listen", c.SMTPListen)
	host, _, _ := net.SplitHostPort(c.SMTPListen)
	_, err := netip.ParseAddr(host)
	f.Check(err == nil || host == "" || host == "localhost", "gateway.smtp_listen", "must have an IP address, localhost or nothing for its host, not %q", host)
	f.Check(len(c.SMTPTrustedNetworks) > 0 || (c.SMTPTLS.CertFile != "" && c.Tokens != ""), "gateway.smtp_listen",
		"nobody could hand in mail: needs smtp_tls and tokens_file, or smtp_trusted_networks")
}

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("address: %w", err)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("network: %w", err)
	}
	return prefix.Masked(), nil
}

// startSMTP serves SMTP, where that is configured, until ctx ends. The channel gives how it ended, once.
func (g *Gateway) startSMTP(ctx context.Context, to smtplisten.Submitter) <-chan error {
	ended := make(chan error, 1)
	door, err := g.openSMTP(ctx, to)
	if door == nil {
		ended <- err
		return ended
	}
	go func() { ended <- door.serve(ctx, g.env.Stopping) }()
	return ended
}

// smtpDoor is the SMTP listener of a running gateway.
type smtpDoor struct {
	listener net.Listener
	server   *smtplisten.Server
}

// openSMTP listens; nil when there is no SMTP listener. Whoever gets one must serve it, or close its listener.
func (g *Gateway) openSMTP(ctx context.Context, to smtplisten.Submitter) (*smtpDoor, error) {
	if g.cfg.SMTPListen == "" {
		return nil, nil //nolint:nilnil // none is configured
	}
	o := smtplisten.Options{
		Node: g.node, Submitter: to, MaxSize: g.cfg.MaxMessageSize.Bytes(), MaxConnections: g.cfg.SMTPMaxConnections,
		MaxPerAddress: max(2, g.cfg.SMTPMaxConnections/10), Log: g.env.Log,
		Timeout: smtplisten.DefaultTimeout, Grace: smtplisten.DefaultGrace,
	}
	for _, text := range g.cfg.SMTPTrustedNetworks {
		prefix, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("gateway.smtp_trusted_networks: %w", err)
		}
		o.Trusted = append(o.Trusted, prefix)
	}
	if g.cfg.SMTPTLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(g.cfg.SMTPTLS.CertFile, g.cfg.SMTPTLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("gateway.smtp_tls: %w", err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if g.cfg.Tokens != "" {
		tokens, err := rpc.LoadTokens(g.cfg.Tokens)
		if err != nil {
			return nil, err
		}
		o.Caller = tokens.Caller
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", g.cfg.SMTPListen)
	if err != nil {
		return nil, fmt.Errorf("listen for SMTP: %w", err)
	}
	g.env.Log.LogAttrs(ctx, slog.LevelInfo, "serving SMTP", slog.String("smtp", l.Addr().String()))
	return &smtpDoor{listener: l, server: smtplisten.New(o)}, nil
}

// serve takes mail until ctx ends or the process begins to stop, and returns when all sessions have ended.
func (d *smtpDoor) serve(ctx context.Context, stopping <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return d.server.Serve(ctx, d.listener)
}
