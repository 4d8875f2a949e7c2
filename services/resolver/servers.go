// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

const (
	resolvConf = "/etc/resolv.conf"
	dnsPort    = 53
)

// servers are the configured DNS servers, or those of the system.
func (c *Config) servers() ([]netip.AddrPort, error) {
	if len(c.Servers) == 0 {
		return systemServers(resolvConf)
	}
	all := make([]netip.AddrPort, 0, len(c.Servers))
	for _, s := range c.Servers {
		server, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, server) {
			all = append(all, server)
		}
	}
	return all, nil
}

// systemServers are all servers of a resolv.conf file, and the local one when there is no file or it names none
// (resolv.conf(5)).
func systemServers(file string) ([]netip.AddrPort, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return localServer(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("DNS servers of the system: %w", err)
	}
	defer f.Close()
	all, err := readResolvConf(f)
	if err != nil {
		return nil, fmt.Errorf("DNS servers of the system: %w", err)
	}
	if len(all) == 0 {
		return localServer(), nil
	}
	return all, nil
}

func localServer() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
}

func readResolvConf(r io.Reader) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(words[1])
		if err != nil {
			continue // the system's resolver passes over it as well
		}
		if server := netip.AddrPortFrom(addr, dnsPort); !slices.Contains(all, server) {
			all = append(all, server)
		}
	}
	return all, lines.Err()
}

// parseServer reads an IP address with or without a port.
func parseServer(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, dnsPort), nil
	}
	server, err := netip.ParseAddrPort(text)
	if err == nil && server.Port() == 0 {
		err = fmt.Errorf("%q has port 0", text)
	}
	return server, err
}

// parsePrefix reads a network or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap().Prefix(addr.Unmap().BitLen())
	}
	return netip.ParsePrefix(text)
}

// parseListener reads host:port of a listener; an empty host is every address.
func parseListener(text string) (netip.AddrPort, error) {
	if port, every := strings.CutPrefix(text, ":"); every {
		text = "0.0.0.0:" + port
	}
	if port, local := strings.CutPrefix(text, "localhost:"); local {
		text = "127.0.0.1:" + port
	}
	return netip.ParseAddrPort(text)
}
