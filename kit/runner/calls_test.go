// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

// TestRun_ServicesOfOneProcessCallEachOther: over memory, known by name and rights, whatever the configured target.
func TestRun_ServicesOfOneProcessCallEachOther(t *testing.T) {
	var caller rpc.Caller
	server := &stub{rights: map[string]rpc.Right{dsnv1.DsnService_Preview_FullMethodName: rpc.RightNullSender}}
	server.preview = func(ctx context.Context) error { caller = rpc.CallerFrom(ctx); return nil }
	client := &stub{register: func(r grpc.ServiceRegistrar) {
		senderv1.RegisterSenderServiceServer(r, senderv1.UnimplementedSenderServiceServer{})
	}}
	weak := &stub{register: func(grpc.ServiceRegistrar) {}}
	proc := process(unit("server", loopback(), server), unit("client", loopback(), client), unit("weak", loopback(), weak))
	proc.Units[1].PipeRights = []rpc.Right{rpc.RightSubmit, rpc.RightNullSender}
	proc.Units[2].PipeRights = []rpc.Right{rpc.RightSubmit}
	proc.TokensFile = tokenFile(t)
	p := startProcess(t, proc)
	call := func(env Env) *rpc.Error {
		t.Helper()
		conn, err := env.Dial(t.Context(), "192.0.2.1:1", rpc.ClientOptions{TokenFile: "/does/not/exist"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{})
		return rpc.FromError(err)
	}
	if err := call(client.env); err != nil || caller.Name != "client" || caller.Has(rpc.RightOperator) {
		t.Errorf("%v, caller %+v", err, caller)
	}
	if err := call(weak.env); err == nil || err.Reason != rpc.ReasonRightMissing {
		t.Errorf("got %v", err)
	}
	// From the outside the tokens file counts.
	_, err := dsnv1.NewDsnServiceClient(dial(t, p.GRPC.String(), rpc.ClientOptions{})).Preview(t.Context(), &dsnv1.PreviewRequest{})
	if got := rpc.FromError(err); got == nil || got.Reason != rpc.ReasonTokenMissing {
		t.Errorf("got %v", got)
	}
	token := p.Pipe.Issue("command", rpc.AllRights()...)
	if _, err := dsnv1.NewDsnServiceClient(dial(t, "x", rpc.ClientOptions{InMemory: p.Pipe, Token: token})).Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Errorf("over the process's pipe: %v", err)
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
}

func TestRun_DialOfASingleService(t *testing.T) {
	s, other := &stub{}, &stub{}
	a, b := startProcess(t, process(unit("a", loopback(), s))), startProcess(t, process(unit("b", loopback(), other)))
	if a.Pipe != nil {
		t.Error("a pipe for a single service")
	}
	conn, err := s.env.Dial(t.Context(), b.GRPC.String(), rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := s.env.Dial(t.Context(), "", rpc.ClientOptions{}); err == nil {
		t.Error("no target was taken")
	}
	if s.env.Name != "a" || s.env.Log == nil || s.env.Tracer == nil || s.env.Meter == nil || s.env.NATS != nil || s.env.Stopping == nil {
		t.Errorf("env %+v", s.env)
	}
	if err := errors.Join(a.end(t), b.end(t)); err != nil {
		t.Error(err)
	}
}

// TestRun_TLSBetweenProcesses: a process with a certificate is called over TLS by one that knows its authority, and only
// so; its own health command needs no authority.
func TestRun_TLSBetweenProcesses(t *testing.T) {
	files := certificate(t)
	server := process(unit("server", loopback(), &stub{}))
	server.Shared.Node.TLS = config.TLS{CertFile: files.CertFile, KeyFile: files.KeyFile}
	a := startProcess(t, server)
	for name, tt := range map[string]struct {
		tls  config.TLS
		want codes.Code
	}{"with its authority": {config.TLS{CAFile: files.CAFile}, codes.OK}, "in clear": {config.TLS{}, codes.Unavailable}} {
		t.Run(name, func(t *testing.T) {
			s := &stub{}
			client := process(unit("client", loopback(), s))
			client.Shared.Node.TLS = tt.tls
			b := startProcess(t, client)
			conn, err := s.env.Dial(t.Context(), a.GRPC.String(), rpc.ClientOptions{DefaultTimeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			_, err = dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{})
			if got := status.Code(err); got != tt.want {
				t.Errorf("got %v", err)
			}
			_ = conn.Close()
			if err := b.end(t); err != nil {
				t.Error(err)
			}
		})
	}
	if err := CheckHealth(t.Context(), a.GRPC.String(), server.Shared.Node.TLS); err != nil {
		t.Errorf("health: %v", err)
	}
	if err := a.end(t); err != nil {
		t.Error(err)
	}
}

// certificate makes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, private := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.TLS{CertFile: cert, KeyFile: private, CAFile: cert}
}
