// SPDX-License-Identifier: Apache-2.0

package sasl

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

var somebody = Credentials{Username: "relay,user=1", Password: "pa55 wörd"}

func TestS43_TheBestMechanismInCommon(t *testing.T) {
	for offered, want := range map[string]string{
		"LOGIN PLAIN SCRAM-SHA-256": "SCRAM-SHA-256", "LOGIN PLAIN": "PLAIN", "PLAIN CRAM-MD5": "PLAIN", "LOGIN": "LOGIN",
		"SCRAM-SHA-1 SCRAM-SHA-256-PLUS CRAM-MD5 XOAUTH2": "", "": "",
	} {
		x, err := Choose(strings.Fields(offered), somebody)
		switch {
		case want == "":
			if !errors.Is(err, ErrNoMechanism) {
				t.Errorf("%q: %v", offered, err)
			}
		case err != nil || x.Name() != want:
			t.Errorf("%q: %v, %v", offered, x, err)
		}
	}
}

func TestS43_CredentialsThatCannotBeSaid(t *testing.T) {
	for _, c := range []Credentials{{"", "x"}, {"x", ""}, {"a\x00b", "x"}, {"x", "a\x00b"}} {
		if _, err := Choose([]string{"PLAIN"}, c); err == nil || errors.Is(err, ErrNoMechanism) {
			t.Errorf("%q %q: %v", c.Username, c.Password, err)
		}
	}
}

func TestS43_PlainAndLogin(t *testing.T) {
	x := newPlain(somebody)
	if got := string(x.Initial()); got != "\x00relay,user=1\x00pa55 wörd" {
		t.Errorf("PLAIN %q", got)
	}
	if _, err := x.Next(nil); err == nil {
		t.Error("PLAIN answers a challenge")
	}
	x = newLogin(somebody)
	if x.Initial() != nil {
		t.Error("LOGIN has an initial response")
	}
	for _, want := range []string{somebody.Username, somebody.Password} {
		got, err := x.Next([]byte("whatever"))
		if err != nil || string(got) != want {
			t.Errorf("LOGIN %q, %v", got, err)
		}
	}
	if _, err := x.Next(nil); err == nil {
		t.Error("LOGIN answers a third challenge")
	}
}

// host is the other side of SCRAM.
func host(t *testing.T, c Credentials) *scram.ServerConversation {
	t.Helper()
	client, err := scram.SHA256.NewClient(c.Username, c.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt salt", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if strings.NewReplacer("=2C", ",", "=3D", "=").Replace(user) != c.Username { // the library leaves that to us
			return scram.StoredCredentials{}, fmt.Errorf("nobody is %q", user)
		}
		return stored, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return server.NewConversation()
}

func TestS43_SCRAM(t *testing.T) {
	server, x := host(t, somebody), newSCRAM(somebody)
	said := x.Initial()
	for range 2 {
		challenge, err := server.Step(string(said))
		if err != nil {
			t.Fatal(err)
		}
		if x.Finish() == nil {
			t.Error("content before the host has signed")
		}
		if said, err = x.Next([]byte(challenge)); err != nil {
			t.Fatal(err)
		}
	}
	if !server.Valid() || x.Finish() != nil || len(said) != 0 {
		t.Errorf("host %v, we %v, last word %q", server.Valid(), x.Finish(), said)
	}
}

func TestS43_SCRAMHostThatDoesNotKnowThePassword(t *testing.T) {
	for name, lie := range map[string]func(challenge string) string{
		"wrong signature":      func(string) string { return "v=AAAA" },
		"error":                func(string) string { return "e=other-error" },
		"no SCRAM":             func(string) string { return "hello" },
		"endless iterations":   func(c string) string { return strings.Replace(c, "i=4096", "i=2000000000", 1) },
		"too few iterations":   func(c string) string { return strings.Replace(c, "i=4096", "i=1", 1) },
		"nonce of another":     func(c string) string { return strings.Replace(c, "r=", "r=x", 1) },
		"iterations no number": func(c string) string { return strings.Replace(c, "i=4096", "i=99999999999999999999", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			server, x := host(t, somebody), newSCRAM(somebody)
			said, failed := x.Initial(), false
			for range 2 {
				challenge, _ := server.Step(string(said))
				if name != "wrong signature" && name != "error" || strings.HasPrefix(challenge, "v=") {
					challenge = lie(challenge)
				}
				var err error
				if said, err = x.Next([]byte(challenge)); err != nil {
					failed = true
					if strings.Contains(err.Error(), "hello") || strings.Contains(err.Error(), somebody.Password) {
						t.Errorf("the error quotes: %v", err)
					}
					break
				}
			}
			if !failed || x.Finish() == nil {
				t.Error("taken for the real one")
			}
		})
	}
}

func TestSCRAMWithCharactersItDoesNotAllow(t *testing.T) {
	x := newSCRAM(Credentials{Username: "u", Password: "a\u0007b"})
	if _, err := x.Next([]byte("r=x,s=c2FsdA==,i=4096")); err == nil || x.Finish() == nil {
		t.Error("taken")
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("c", somebody))
	for _, text := range []string{fmt.Sprint(somebody), fmt.Sprintf("%+v %#v %s %q", somebody, somebody, somebody, somebody), log.String()} {
		if strings.Contains(text, "relay") || strings.Contains(text, "pa55") {
			t.Errorf("printed: %s", text)
		}
	}
}

// FuzzSCRAM: no word of a host makes us content without its signature, and none makes us crash or work for long.
func FuzzSCRAM(f *testing.F) {
	f.Add("r=x,s=c2FsdA==,i=4096", "v=AAAA")
	f.Add("m=ext,r=,s=,i=0", "e=x")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, first, final string) {
		x := newSCRAM(somebody)
		own := string(x.Initial())
		nonce := own[strings.LastIndex(own, "r=")+2:]
		_, err1 := x.Next([]byte(strings.Replace(first, "r=", "r="+nonce, 1)))
		_, err2 := x.Next([]byte(final))
		if err1 == nil && err2 == nil && x.Finish() == nil {
			t.Fatalf("content with %q, %q", first, final)
		}
	})
}
