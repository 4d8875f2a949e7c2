// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/postrider/postrider/testkit/dnstest"
)

// forgetEvery bounds what the server remembers of the questions it was asked.
const forgetEvery = time.Minute

func serveDNS(ctx context.Context, log *slog.Logger, address, file string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address of the DNS server: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	zone, err := dnstest.ParseZone(string(text))
	if err != nil {
		return fmt.Errorf("zone %s: %w", file, err)
	}
	server, err := dnstest.StartServer(dnstest.Options{Zone: zone, Addr: at})
	if err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("dns", server.Addr().String()))
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			server.ForgetQueries()
		case <-ctx.Done():
			return server.Close()
		}
	}
}
