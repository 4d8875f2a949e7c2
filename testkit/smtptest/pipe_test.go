// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// onWire runs a test over a Pipe and over TCP: both must behave alike.
func onWire(t *testing.T, test func(t *testing.T, client, server net.Conn)) {
	t.Helper()
	t.Run("pipe", func(t *testing.T) {
		t.Parallel()
		a, b := Pipe(0)
		defer a.Close()
		defer b.Close()
		test(t, a, b)
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		l := SharedPort(t, "127.0.0.1")[0]
		a, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		test(t, a, b)
	})
}

func mustWrite(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := io.WriteString(c, s); err != nil || n != len(s) {
		t.Fatalf("wrote %d of %d octets: %v", n, len(s), err)
	}
}

func mustRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q: %v, want %q", b[:n], err, want)
	}
}

func wantReadError(t *testing.T, c net.Conn, want error) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d octets, %v, want %v", n, err, want)
	}
}

func TestPipeHalfClose(t *testing.T) {
	t.Parallel()
	onWire(t, func(t *testing.T, client, server net.Conn) {
		mustWrite(t, server, "421 bye\r\n")
		if err := server.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		mustRead(t, client, "421 bye\r\n")
		wantReadError(t, client, io.EOF)
		mustWrite(t, client, "QUIT\r\n")
		mustRead(t, server, "QUIT\r\n")
		if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite: %v", err)
		}
		_ = client.Close()
		wantReadError(t, server, io.EOF)
	})
}

func TestPipeReset(t *testing.T) {
	t.Parallel()
	onWire(t, func(t *testing.T, client, server net.Conn) {
		mustWrite(t, client, "lost")
		if err := reset(server); err != nil {
			t.Fatal(err)
		}
		wantReadError(t, client, syscall.ECONNRESET)
		wantReadError(t, server, net.ErrClosed)
		if err := server.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestPipeCloseWithUnreadInputResets(t *testing.T) {
	t.Parallel()
	onWire(t, func(t *testing.T, client, server net.Conn) {
		mustWrite(t, client, "unread")
		_ = server.SetReadDeadline(time.Now().Add(patience))
		mustRead(t, server, "u") // the rest has arrived too
		_ = server.Close()
		wantReadError(t, client, syscall.ECONNRESET)
	})
}

func TestPipeWriteToClosedPeer(t *testing.T) {
	t.Parallel()
	onWire(t, func(t *testing.T, client, server net.Conn) {
		_ = server.Close()
		wantReadError(t, client, io.EOF)
		mustWrite(t, client, "taken, but answered with a reset")
		deadline := time.Now().Add(patience)
		for {
			_, err := client.Write([]byte("x"))
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				return
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("write: %v, want a reset", err)
			}
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	t.Parallel()
	onWire(t, func(t *testing.T, client, _ net.Conn) {
		_ = client.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("read: %v", err)
		}
		for err = nil; err == nil; {
			_, err = client.Write(make([]byte, 1<<20))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		_ = client.SetDeadline(time.Time{})
		unblocked := make(chan error)
		go func() {
			_, err := client.Read(make([]byte, 1))
			unblocked <- err
		}()
		_ = client.SetReadDeadline(time.Now())
		if err := <-unblocked; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("waiting read: %v", err)
		}
	})
}

func TestPipeWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := Pipe(10)
		var wg sync.WaitGroup
		written := 0
		wg.Go(func() {
			n, err := client.Write(make([]byte, 25))
			if err != nil {
				t.Error(err)
			}
			written = n
		})
		synctest.Wait()
		if written != 0 {
			t.Error("the write did not block")
		}
		var got bytes.Buffer
		if _, err := io.CopyN(&got, server, 25); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if written != 25 {
			t.Errorf("wrote %d octets", written)
		}
		_, _ = client.Write([]byte("x"))
		if !server.pending() || client.pending() {
			t.Error("pending input is not seen")
		}
		_ = client.Close()
		_ = server.Close()
	})
}

func TestPipeFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := Pipe(0)
		began := time.Now()
		_ = client.SetReadDeadline(began.Add(5 * time.Minute))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(began); took != 5*time.Minute {
			t.Errorf("took %s", took)
		}
		_ = client.Close()
		_ = server.Close()
	})
}

func TestPipeAddresses(t *testing.T) {
	t.Parallel()
	a, b := Pipe(0)
	if a.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != b.LocalAddr() || a.LocalAddr() == a.RemoteAddr() {
		t.Errorf("%s to %s, %s to %s", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
	}
	_ = a.Close()
	if err := a.CloseWrite(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("CloseWrite after Close: %v", err)
	}
	if err := a.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline after Close: %v", err)
	}
	if kind := b.awaitPeer(); kind != ClosedFIN {
		t.Errorf("closed by %s", kind)
	}
	_ = b.Close()
	if kind := b.awaitPeer(); kind != ClosedHere {
		t.Errorf("closed by %s", kind)
	}
}
