// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
)

// NATSOptions returns the options of every connection to the queue's server. A publish during an interruption fails at
// once instead of waiting in a buffer, from where it could be stored long after its caller gave up.
func NATSOptions(name string, log *slog.Logger) []nats.Option {
	attr := func(err error) slog.Attr {
		if err == nil {
			return slog.Attr{}
		}
		return slog.String("error", err.Error())
	}
	ctx := context.Background()
	return []nats.Option{
		nats.Name(name),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			log.LogAttrs(ctx, slog.LevelWarn, "NATS connection lost", attr(err))
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.LogAttrs(ctx, slog.LevelInfo, "NATS connected again", slog.String("server", nc.ConnectedServerName()))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.LogAttrs(ctx, slog.LevelDebug, "NATS not reached", attr(err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			attrs := []slog.Attr{attr(err)}
			if sub != nil {
				attrs = append(attrs, slog.String("subject", sub.Subject))
			}
			log.LogAttrs(ctx, slog.LevelWarn, "NATS error", attrs...)
		}),
	}
}

// ConnectNATS returns a connection to nats.url. A server that cannot be reached is no error: the connection keeps trying.
func ConnectNATS(cfg config.NATS, name string, log *slog.Logger) (*nats.Conn, error) {
	options := NATSOptions(name, log)
	if cfg.CredsFile != "" {
		options = append(options, nats.UserCredentials(cfg.CredsFile))
	}
	tlsConfig, err := rpc.ClientTLS(cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("connect NATS: %w", err)
	}
	if tlsConfig != nil {
		options = append(options, nats.Secure(tlsConfig))
	}
	conn, err := nats.Connect(cfg.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect NATS: %w", err)
	}
	return conn, nil
}
