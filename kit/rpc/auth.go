// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Right is something a caller may do.
type Right string

// The rights a token can have.
const (
	// RightSubmit is handing in mail and asking what became of it.
	RightSubmit Right = "submit"
	// RightNullSender is handing in mail with the null reverse-path (G-03).
	RightNullSender Right = "null_sender"
	// RightOperator is everything that changes or shows other people's mail, and the inner services.
	RightOperator Right = "operator"
)

// Ways of a method that are no right of a token.
const (
	// RightAny lets every known caller call.
	RightAny Right = "any"
	// RightNone lets everybody call, without a token.
	RightNone Right = "none"
)

// AllRights returns every right a token can have.
func AllRights() []Right { return []Right{RightSubmit, RightNullSender, RightOperator} }

// Caller is who makes a call.
type Caller struct {
	// Name is the token's name, or "loopback" on a server without tokens.
	Name string
	// Rights are what it may do.
	Rights []Right
}

// Has reports whether the caller has a right. Everybody has RightNone, every known caller RightAny.
func (c Caller) Has(r Right) bool {
	switch r {
	case RightNone:
		return true
	case RightAny:
		return c.Name != ""
	}
	return slices.Contains(c.Rights, r)
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller of a handler's context; without one it has neither name nor rights.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Tokens are the callers a server knows.
type Tokens struct{ entries []tokenEntry }

type tokenEntry struct {
	hash   [sha256.Size]byte
	caller Caller
}

// tokenFile is one entry of a tokens file.
type tokenFile struct {
	Name   string   `yaml:"name" help:"Name of the caller in logs and events."`
	SHA256 string   `yaml:"sha256" help:"SHA-256 of the bearer token in hexadecimal digits."`
	Rights []string `yaml:"rights" help:"submit, null_sender, operator."`
}

// LoadTokens reads a tokens file: a YAML list of name, sha256 (of the bearer token, in hexadecimal digits) and rights.
// The tokens themselves never stand in it. All faults of the file come joined.
func LoadTokens(file string) (*Tokens, error) {
	var list []tokenFile
	if err := config.Load(file, &list); err != nil {
		return nil, fmt.Errorf("load tokens: %w", err)
	}
	var faults config.Faults
	tokens := &Tokens{}
	for i, entry := range list {
		key := fmt.Sprintf("%s: [%d]", file, i)
		faults.Check(entry.Name != "", key+".name", "must not be empty")
		hash, err := hex.DecodeString(entry.SHA256)
		if err != nil || len(hash) != sha256.Size {
			faults.Add(key+".sha256", "must be 64 hexadecimal digits")
			continue
		}
		caller := Caller{Name: entry.Name}
		for _, right := range entry.Rights {
			faults.Check(slices.Contains(AllRights(), Right(right)), key+".rights", "must be of submit, null_sender, operator, not %q", right)
			caller.Rights = append(caller.Rights, Right(right))
		}
		for _, other := range tokens.entries {
			faults.Check(other.hash != [sha256.Size]byte(hash), key+".sha256", "is the same as that of %q", other.caller.Name)
			faults.Check(other.caller.Name != entry.Name, key+".name", "is given twice: %q", entry.Name)
		}
		tokens.entries = append(tokens.entries, tokenEntry{hash: [sha256.Size]byte(hash), caller: caller})
	}
	faults.Check(len(list) > 0, file, "holds no tokens")
	if err := faults.Err(); err != nil {
		return nil, fmt.Errorf("load tokens: %w", err)
	}
	return tokens, nil
}

// Caller returns the caller of a token, for protocols other than gRPC.
func (t *Tokens) Caller(token string) (Caller, bool) { return t.lookup(token) }

// lookup returns the caller of a token. Its time does not depend on which entry fits.
func (t *Tokens) lookup(token string) (Caller, bool) {
	hash := sha256.Sum256([]byte(token))
	found := -1
	for i := range t.entries {
		if subtle.ConstantTimeCompare(hash[:], t.entries[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Caller{}, false
	}
	return t.entries[found].caller, true
}

// CheckListen refuses to listen without tokens on an address that is not loopback.
func CheckListen(address string, tokens *Tokens) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: must be host:port", address)
	}
	if tokens != nil || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q: without a tokens file only loopback addresses may be listened on", address)
}

// loopbackCaller is everybody on a server without tokens.
func loopbackCaller() Caller { return Caller{Name: "loopback", Rights: AllRights()} }

// authenticate returns the caller of a call, an *Error when there is none.
func authenticate(ctx context.Context, tokens *Tokens) (Caller, error) {
	known := tokens
	if p, ok := peer.FromContext(ctx); ok {
		if inner, ok := p.AuthInfo.(pipeAuth); ok {
			known = inner.pipe.tokens()
		}
	}
	if known == nil {
		return loopbackCaller(), nil
	}
	token, present := bearer(ctx)
	if !present {
		return Caller{}, &Error{
			Code: codes.Unauthenticated, Reason: ReasonTokenMissing, Enhanced: smtpreply.Code(5, 7, 0),
			Message: "no bearer token was sent",
		}
	}
	caller, ok := known.lookup(token)
	if !ok {
		return Caller{}, &Error{
			Code: codes.Unauthenticated, Reason: ReasonTokenInvalid, Enhanced: smtpreply.Code(5, 7, 8),
			Message: "the bearer token is not known",
		}
	}
	return caller, nil
}

// bearer returns the token of the authorization header.
func bearer(ctx context.Context) (token string, present bool) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return "", false
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// authorize refuses a caller without the right a method needs.
func authorize(caller Caller, right Right) error {
	if caller.Has(right) {
		return nil
	}
	return &Error{
		Code: codes.PermissionDenied, Reason: ReasonRightMissing, Enhanced: smtpreply.Code(5, 7, 1),
		Message: fmt.Sprintf("the caller has no right %q", right),
	}
}
