// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func tokensFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// threeTokens knows app (submit), dsn (submit, null_sender) and ops (operator); their tokens are "app-token" and so on.
func threeTokens(t *testing.T) *Tokens {
	t.Helper()
	tokens, err := LoadTokens(tokensFile(t, `
- {name: app, sha256: `+digest("app-token")+`, rights: [submit]}
- {name: dsn, sha256: `+strings.ToUpper(digest("dsn-token"))+`, rights: [submit, null_sender]}
- {name: ops, sha256: `+digest("ops-token")+`, rights: [operator]}
- {name: idle, sha256: `+digest("idle-token")+`, rights: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestLoadTokens(t *testing.T) {
	tokens := threeTokens(t)
	for token, want := range map[string]Caller{
		"app-token":  {Name: "app", Rights: []Right{RightSubmit}},
		"dsn-token":  {Name: "dsn", Rights: []Right{RightSubmit, RightNullSender}},
		"ops-token":  {Name: "ops", Rights: []Right{RightOperator}},
		"idle-token": {Name: "idle"},
	} {
		if got, ok := tokens.lookup(token); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", token, got, ok)
		}
	}
	for _, wrong := range []string{"", "app-toke", "app-token ", "APP-TOKEN", digest("app-token")} {
		if got, ok := tokens.lookup(wrong); ok {
			t.Errorf("%q passed as %+v", wrong, got)
		}
	}
}

func TestLoadTokens_FaultsNameThePlace(t *testing.T) {
	good := "- {name: a, sha256: " + digest("a") + ", rights: [submit]}\n"
	tests := []struct{ name, text, want string }{
		{"empty", "", "holds no tokens"},
		{"empty list", "[]", "holds no tokens"},
		{"no name", "- {sha256: " + digest("a") + ", rights: [submit]}\n", "[0].name: must not be empty"},
		{"short digest", "- {name: a, sha256: abcd, rights: [submit]}\n", "[0].sha256: must be 64 hexadecimal digits"},
		{"the token itself", "- {name: a, sha256: secret-token, rights: [submit]}\n", "[0].sha256: must be 64 hexadecimal digits"},
		{"unknown right", good + "- {name: b, sha256: " + digest("b") + ", rights: [admin]}\n", `[1].rights: must be of submit, null_sender, operator, not "admin"`},
		{"the way of a method", "- {name: b, sha256: " + digest("b") + ", rights: [none]}\n", `[0].rights: must be of`},
		{"same token", good + "- {name: b, sha256: " + digest("a") + ", rights: [submit]}\n", `[1].sha256: is the same as that of "a"`},
		{"same name", good + "- {name: a, sha256: " + digest("b") + ", rights: [submit]}\n", `[1].name: is given twice: "a"`},
		{"unknown key", "- {name: a, token: x}\n", "[0].token: unknown key"},
		{"mapping", "name: a\n", "must be a list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tokens, err := LoadTokens(tokensFile(t, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if tokens != nil {
				t.Error("tokens in spite of the fault")
			}
			if err != nil && strings.Contains(err.Error(), "secret-token") {
				t.Errorf("a token in %v", err)
			}
		})
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file was taken")
	}
}

func TestCheckListen_WithoutTokensOnlyLoopback(t *testing.T) {
	tokens := threeTokens(t)
	for address, loopback := range map[string]bool{
		"127.0.0.1:4025": true, "127.8.9.1:0": true, "[::1]:4025": true, "localhost:4025": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:4025": false, ":4025": false, "[::]:4025": false, "192.0.2.1:4025": false, "mail.example.com:4025": false,
		"localhost.example.com:1": false,
	} {
		if err := CheckListen(address, nil); (err == nil) != loopback {
			t.Errorf("%s without tokens: %v", address, err)
		}
		if err := CheckListen(address, tokens); err != nil {
			t.Errorf("%s with tokens: %v", address, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1", "::1:4025"} {
		if CheckListen(bad, tokens) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCaller_Has(t *testing.T) {
	nobody, known := Caller{}, Caller{Name: "app", Rights: []Right{RightSubmit}}
	for _, tt := range []struct {
		caller Caller
		right  Right
		want   bool
	}{
		{nobody, RightNone, true},
		{nobody, RightAny, false},
		{nobody, RightSubmit, false},
		{nobody, "", false},
		{known, RightNone, true},
		{known, RightAny, true},
		{known, RightSubmit, true},
		{known, RightOperator, false},
		{known, "", false},
	} {
		if got := tt.caller.Has(tt.right); got != tt.want {
			t.Errorf("%+v has %q = %v", tt.caller, tt.right, got)
		}
	}
	if got := CallerFrom(context.Background()); got.Name != "" || got.Rights != nil {
		t.Errorf("nobody is %+v", got)
	}
	if got := CallerFrom(WithCaller(context.Background(), known)); !reflect.DeepEqual(got, known) {
		t.Errorf("got %+v", got)
	}
	if !reflect.DeepEqual(loopbackCaller().Rights, AllRights()) {
		t.Error("the loopback caller lacks a right")
	}
}
