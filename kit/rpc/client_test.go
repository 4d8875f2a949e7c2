// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/config"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

func TestDial_TokenFile(t *testing.T) {
	r := start(t, ServerOptions{Tokens: threeTokens(t), DefaultRight: RightSubmit})
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if err := r.preview(t, ClientOptions{TokenFile: write("app-token\n")}); err != nil {
		t.Errorf("a token with a line end: %v", err)
	}
	for name, opts := range map[string]ClientOptions{
		"missing":   {TokenFile: filepath.Join(t.TempDir(), "none")},
		"empty":     {TokenFile: write("\n")},
		"two lines": {TokenFile: write("app-token\nx: y\n")},
		"too long":  {TokenFile: write(strings.Repeat("x", maxToken+1))},
		"both":      {TokenFile: write("app-token"), Token: "app-token"},
	} {
		if conn, err := Dial(r.addr, opts); err == nil {
			_ = conn.Close()
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "app-token") {
			t.Errorf("%s: the token stands in %v", name, err)
		}
	}
}

func TestDial_DefaultDeadline(t *testing.T) {
	r := start(t, ServerOptions{})
	var remaining time.Duration
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error {
		remaining = 0
		if deadline, set := ctx.Deadline(); set {
			remaining = time.Until(deadline)
		}
		return nil
	}
	for name, tt := range map[string]struct {
		configured time.Duration
		own        time.Duration
		low, high  time.Duration
	}{
		"default":         {0, 0, DefaultTimeout - 10*time.Second, DefaultTimeout},
		"configured":      {time.Hour, 0, 50 * time.Minute, time.Hour},
		"none":            {-1, 0, 0, 0},
		"the caller's":    {time.Hour, time.Minute, 50 * time.Second, time.Minute},
		"caller's longer": {time.Minute, time.Hour, 50 * time.Minute, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if tt.own > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.own)
				defer cancel()
			}
			client := dsnv1.NewDsnServiceClient(r.dial(t, ClientOptions{DefaultTimeout: tt.configured}))
			if _, err := client.Preview(ctx, &dsnv1.PreviewRequest{}); err != nil {
				t.Fatal(err)
			}
			if remaining < tt.low || remaining > tt.high {
				t.Errorf("the server sees a deadline in %s", remaining)
			}
		})
	}
}

func TestDial_DeadlineOfASilentServer(t *testing.T) {
	r := start(t, ServerOptions{})
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error { <-ctx.Done(); return ctx.Err() }
	got := r.preview(t, ClientOptions{DefaultTimeout: 50 * time.Millisecond})
	if got == nil || got.Code != codes.DeadlineExceeded || !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("got %v", got)
	}
}

func TestDial_NobodyThere(t *testing.T) {
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := socket.Addr().String()
	_ = socket.Close()
	conn, err := Dial(address, ClientOptions{})
	if err != nil {
		t.Fatalf("Dial waits for the server: %v", err)
	}
	defer func() { _ = conn.Close() }()
	_, err = dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{})
	if got := FromError(err); got.Code != codes.Unavailable || strings.Contains(got.Message, address) {
		t.Errorf("got %+v", got)
	}
	if _, err := Dial("dns:///\x7f", ClientOptions{}); err == nil {
		t.Error("a target that is none was taken")
	}
}

func TestTLS_ServerAndClient(t *testing.T) {
	files := certificate(t)
	serverTLS, err := ServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, ServerOptions{TLS: serverTLS, Tokens: threeTokens(t), DefaultRight: RightSubmit})
	clientTLS, err := ClientTLS(config.TLS{CAFile: files.CAFile})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.preview(t, ClientOptions{TLS: clientTLS, Token: "app-token"}); err != nil {
		t.Errorf("with TLS: %v", err)
	}
	// The pipe of the same server needs none.
	if err := r.preview(t, ClientOptions{InMemory: r.pipe, Token: r.pipe.Issue("x", RightSubmit), TLS: clientTLS}); err != nil {
		t.Errorf("over the pipe: %v", err)
	}
	if got := r.preview(t, ClientOptions{Token: "app-token", DefaultTimeout: 5 * time.Second}); got == nil || got.Code != codes.Unavailable {
		t.Errorf("in clear: %v", got)
	}
	stranger, err := ClientTLS(config.TLS{CAFile: certificate(t).CAFile})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.preview(t, ClientOptions{TLS: stranger, Token: "app-token", DefaultTimeout: 5 * time.Second}); got == nil || got.Code != codes.Unavailable {
		t.Errorf("with other authorities: %v", got)
	}
}

func TestTLS_Files(t *testing.T) {
	good := certificate(t)
	if c, err := ServerTLS(config.TLS{}); c != nil || err != nil {
		t.Errorf("no files: %v %v", c, err)
	}
	if c, err := ClientTLS(config.TLS{}); c != nil || err != nil {
		t.Errorf("no files: %v %v", c, err)
	}
	if c, err := ClientTLS(good); err != nil || len(c.Certificates) != 1 {
		t.Errorf("with a certificate of its own: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, err := ServerTLS(config.TLS{CertFile: none, KeyFile: none}); err == nil {
		t.Error("missing certificate taken")
	}
	if _, err := ClientTLS(config.TLS{CAFile: none}); err == nil {
		t.Error("missing authorities taken")
	}
	if _, err := ClientTLS(config.TLS{CAFile: good.KeyFile}); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("a key passed for authorities: %v", err)
	}
	if _, err := ClientTLS(config.TLS{CAFile: good.CAFile, CertFile: none, KeyFile: none}); err == nil {
		t.Error("missing client certificate taken")
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
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "cert.pem")}
	for file, block := range map[string]*pem.Block{files.CertFile: {Type: "CERTIFICATE", Bytes: der}, files.KeyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
