// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/testkit/smtptest"
)

// stuff passes content through, in pieces of n octets (0: in one), and gives what goes on the wire.
func stuff(content string, n int) (string, error) {
	var wire bytes.Buffer
	out := bufio.NewWriter(&wire)
	w := contentWriter{out: out, left: int64(len(content)), lineStart: true}
	var err error
	if n == 0 {
		err = w.copy(bytes.NewReader([]byte(content)))
	} else {
		for rest := content; rest != "" && err == nil; {
			piece := rest[:min(n, len(rest))]
			_, err = w.Write([]byte(piece))
			rest = rest[len(piece):]
		}
	}
	if err == nil {
		err = w.finish()
	}
	_ = out.Flush()
	return wire.String(), err
}

func TestS64_DotStuffing(t *testing.T) {
	for content, want := range map[string]string{
		"a\r\n":                  "a\r\n",
		"":                       "",
		".\r\n":                  "..\r\n",
		".a\r\n..b\r\n.\r\n":     "..a\r\n...b\r\n..\r\n",
		"a.b\r\n":                "a.b\r\n",
		"a\r\n.":                 "a\r\n..\r\n",
		"no line end":            "no line end\r\n",
		"\r\n.\r\n":              "\r\n..\r\n",
		"a\r\n\r\n\r\n.b\r\nc.d": "a\r\n\r\n\r\n..b\r\nc.d\r\n",
	} {
		for n := range 6 {
			if got, err := stuff(content, n); err != nil || got != want {
				t.Errorf("%q in pieces of %d: %q, %v; want %q", content, n, got, err, want)
			}
		}
	}
}

func TestS65_OnlyCRLFLeaves(t *testing.T) {
	for _, content := range []string{
		"a\n", "\n", "a\rb\r\n", "a\r", "\r\r\n", "a\r\n\n", "a\r\n.\n", "\n.\r\n", "a\n.\n", "\r.\r\n", "a\r\n\r.\r\n", "a\r\r\n",
	} {
		for n := range 4 {
			_, err := stuff(content, n)
			var bad *ContentError
			if !errors.As(err, &bad) {
				t.Errorf("%q in pieces of %d: passed, %v", content, n, err)
			}
		}
	}
}

func FuzzStuffing(f *testing.F) {
	f.Add("a\r\n.b\r\n", 3)
	f.Add("\r\n.\r\n", 1)
	f.Fuzz(func(t *testing.T, content string, n int) {
		got, err := stuff(content, max(n%7, 0))
		whole, wholeErr := stuff(content, 0)
		if (err == nil) != (wholeErr == nil) || err == nil && got != whole {
			t.Fatal("the pieces matter")
		}
		if err != nil {
			return
		}
		if strings.Contains("\r\n"+got, "\r\n.\r\n") || strings.Count(got, "\n") != strings.Count(got, "\r\n") ||
			strings.Count(got, "\r") != strings.Count(got, "\r\n") {
			t.Fatalf("%q goes out as %q", content, got)
		}
		back := strings.ReplaceAll("\r\n"+got, "\r\n.", "\r\n")[2:]
		if back != content && back != content+"\r\n" {
			t.Fatalf("%q is read back as %q", content, back)
		}
	})
}

// The body arrives as it is, whatever kind of reader it comes from.
func TestS64_BodiesOfAllKinds(t *testing.T) {
	content := strings.Repeat(".dot\r\nplain\r\n..\r\n", 5000)
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for kind, reader := range map[string]io.ReadSeeker{
		"memory": bytes.NewReader([]byte(content)),
		"file":   file,
		"slow":   oneByte{bytes.NewReader([]byte(content))},
	} {
		t.Run(kind, func(t *testing.T) {
			host := smtptest.NewHost(t, smtptest.HostOptions{})
			o := newOptions(t)
			o.Address = host.Addr()
			c := mustDial(t, o)
			m := newMessage(content, "a@example.test")
			m.Body = reader
			for range 2 { // each transaction reads from the start
				wantCodes(t, c.Send(t.Context(), m), "taken")
			}
			c.Quit()
			for _, got := range host.Messages() {
				if string(got.Data) != content {
					t.Errorf("%d octets arrived, want %d", len(got.Data), len(content))
				}
			}
		})
	}
}

// oneByte hides all but Read and Seek, and reads little at a time.
type oneByte struct{ r *bytes.Reader }

func (o oneByte) Read(p []byte) (int, error)                { return iotest.HalfReader(o.r).Read(p) }
func (o oneByte) Seek(off int64, whence int) (int64, error) { return o.r.Seek(off, whence) }

func TestS64_FinalCRLFIsAddedAndCounted(t *testing.T) {
	content := strings.Repeat("x", 70) + "\r\nlast line" // the host checks SIZE against what comes
	long := strings.Repeat(content[:72], 1000) + "last line"
	for name, c := range map[string]struct {
		content string
		file    bool
	}{"memory": {content, false}, "file": {long, true}} {
		t.Run(name, func(t *testing.T) {
			host := smtptest.NewHost(t, smtptest.HostOptions{})
			o := newOptions(t)
			o.Address = host.Addr()
			conn := mustDial(t, o)
			m := newMessage(c.content, "a@example.test")
			if c.file {
				path := filepath.Join(t.TempDir(), "content")
				if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				m.Body, m.NoDotLines = f, true
			}
			wantCodes(t, conn.Send(t.Context(), m), "taken")
			conn.Quit()
			if got := host.Messages()[0].Data; string(got) != c.content+"\r\n" {
				t.Errorf("%d octets arrived, want %d", len(got), len(c.content)+2)
			}
		})
	}
}
