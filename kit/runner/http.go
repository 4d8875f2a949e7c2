// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/rpc"
)

// httpOffset is how far the default HTTP port lies above the gRPC port.
const httpOffset = 1000

// httpServer serves metrics and health. A nil server of it is one that is off.
type httpServer struct {
	socket net.Listener
	server *http.Server
}

// httpAddress is where metrics and health are served, "off" for nowhere.
func (r *run) httpAddress(grpcAddr net.Addr) string {
	if r.Shared.Node.HTTPListen != "" {
		return r.Shared.Node.HTTPListen
	}
	return besideGRPC(r.listenAddress(), grpcAddr)
}

// newHTTPServer listens on address, "off" not at all.
func newHTTPServer(ctx context.Context, address string, health *rpc.Server, p *parts, metrics http.Handler, profiles bool) (*httpServer, error) {
	if address == "off" {
		return &httpServer{}, nil
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health (node.http_listen): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, health.Serving())
		p.write(w)
	})
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	}
	return &httpServer{socket: socket, server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// besideGRPC returns the default address, 1000 above the gRPC port. Where the configured one left the choice to the
// system (port 0), or nothing lies above it, the system chooses here too.
func besideGRPC(configured string, grpcAddr net.Addr) string {
	host, text, _ := net.SplitHostPort(grpcAddr.String())
	port, err := strconv.Atoi(text)
	if _, asked, bad := net.SplitHostPort(configured); err != nil || bad != nil || port+httpOffset > 65535 || portZero(asked) {
		return net.JoinHostPort(host, "0")
	}
	return net.JoinHostPort(host, strconv.Itoa(port+httpOffset))
}

// portZero reports "0" in all its spellings, the empty one too.
func portZero(port string) bool { return strings.Trim(port, "0") == "" }

func answer(w http.ResponseWriter, ok bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("not ready\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (h *httpServer) addr() net.Addr {
	if h.socket == nil {
		return nil
	}
	return h.socket.Addr()
}

// serve answers until close; the end of ctx does not stop it, so that a draining process can still be looked at.
func (h *httpServer) serve(ctx context.Context) error {
	if h.server == nil {
		<-ctx.Done()
		return nil
	}
	failed := make(chan error, 1)
	go func() { failed <- h.server.Serve(h.socket) }()
	select {
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve metrics and health: %w", err)
	case <-ctx.Done():
		return nil
	}
}

func (h *httpServer) close() {
	if h.server != nil {
		_ = h.server.Close()
		_ = h.socket.Close()
	}
}
