// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
	"github.com/postrider/postrider/services/resolver/internal/specialaddr"
)

// FetchError is a policy that could not be had.
type FetchError struct {
	// Problem is a plain sentence part, without text of the remote host.
	Problem string
	// Err is the cause; may be nil.
	Err error
}

// Error tells problem and cause.
func (e *FetchError) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return e.Problem + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// Fetcher gets policy files by HTTPS (RFC 8461, section 3.3; R-46).
type Fetcher struct {
	// DNS finds the addresses of the policy host.
	DNS dnsquery.Querier
	// Guard refuses special addresses, as for mail hosts.
	Guard specialaddr.Guard
	// Timeout bounds the whole fetch.
	Timeout time.Duration
	// Port is that of the policy hosts, 443 everywhere but in tests.
	Port uint16
	// Roots verify their certificates; nil are the system's.
	Roots *x509.CertPool
}

// dialShare is how long one address may take while there are others.
const dialShare = 10 * time.Second

// Fetch gets and reads the policy of a domain. No redirects, no proxies, no compression; status 200, text/plain, at
// most MaxSize. The error is a *FetchError, or that of ctx.
func (f *Fetcher) Fetch(ctx context.Context, domain string) (Policy, error) {
	limited, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	text, err := f.get(limited, "mta-sts."+domain)
	if err != nil {
		if ctx.Err() != nil {
			return Policy{}, ctx.Err()
		}
		return Policy{}, named(limited, err)
	}
	p, err := Parse(text)
	if err != nil {
		return Policy{}, &FetchError{Problem: "the policy file cannot be read", Err: err}
	}
	return p, nil
}

func (f *Fetcher) get(ctx context.Context, host string) (string, error) {
	addrs, err := f.addresses(ctx, host)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dial(ctx, addrs) },
		TLSClientConfig:        &tls.Config{RootCAs: f.Roots, ServerName: host, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxSize,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("User-Agent", "postrider")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	return read(response)
}

// read takes the body of the one kind of response that counts.
func read(response *http.Response) (string, error) {
	switch code := response.StatusCode; {
	case code >= 300 && code < 400:
		return "", &FetchError{Problem: "the policy host redirects, which is forbidden"}
	case code != http.StatusOK:
		return "", &FetchError{Problem: "the policy host answered with status " + strconv.Itoa(code)}
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || media != "text/plain" {
		return "", &FetchError{Problem: "the policy file is not text/plain", Err: err}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxSize+1))
	if err != nil {
		return "", err
	}
	if len(body) > MaxSize {
		return "", &FetchError{Problem: "the policy file is larger than 64 KiB"}
	}
	return string(body), nil
}

// addresses are those of the policy host that may be dialled.
func (f *Fetcher) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	found, err := mxlookup.Lookup(ctx, f.DNS, host, false)
	if err != nil {
		return nil, err
	}
	var allowed []netip.Addr
	for _, addr := range append(found.V6, found.V4...) {
		if f.Guard.Refuses(addr) == "" {
			allowed = append(allowed, addr)
		}
	}
	if len(allowed) == 0 {
		fault := &FetchError{Problem: "the policy host has no address"}
		if found.Failure != nil {
			fault.Err = found.Failure.Err
		}
		return nil, fault
	}
	return allowed, nil
}

func (f *Fetcher) dial(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	var failed error
	for i, addr := range addrs {
		dialer := net.Dialer{}
		if i < len(addrs)-1 {
			dialer.Timeout = dialShare
		}
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, f.Port).String())
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, &FetchError{Problem: "the policy host cannot be reached", Err: failed}
}

// named gives an error of the fetch its plain name.
func named(ctx context.Context, err error) *FetchError {
	if fault, ok := errors.AsType[*FetchError](err); ok {
		return fault
	}
	if ctx.Err() != nil {
		return &FetchError{Problem: "the policy host did not answer in time", Err: err}
	}
	if invalid, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &FetchError{Problem: "the certificate of the policy host is not valid for its name", Err: invalid.Err}
	}
	return &FetchError{Problem: "the policy could not be fetched", Err: fmt.Errorf("https: %w", err)}
}
