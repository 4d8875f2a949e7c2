// SPDX-License-Identifier: Apache-2.0

package sasl

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// ErrNoMechanism says that a host offers none of our mechanisms.
var ErrNoMechanism = errors.New("sasl: no mechanism in common")

// Credentials are a user name and a password. They print without their values.
type Credentials struct{ Username, Password string }

// String tells nothing of the values.
func (c Credentials) String() string { return "credentials" }

// GoString tells nothing of the values.
func (c Credentials) GoString() string { return "sasl.Credentials{…}" }

// LogValue tells nothing of the values.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Check refuses credentials that no mechanism can carry: empty ones and those with NUL (RFC 4616, section 2).
func (c Credentials) Check() error {
	for what, value := range map[string]string{"user name": c.Username, "password": c.Password} {
		switch {
		case value == "":
			return fmt.Errorf("sasl: the %s is empty", what)
		case strings.ContainsRune(value, 0):
			return fmt.Errorf("sasl: the %s has a NUL in it", what)
		}
	}
	return nil
}

// Exchange is one authentication. It is used once.
type Exchange interface {
	// Name is the mechanism as it stands behind AUTH.
	Name() string
	// Initial is the initial response; nil: there is none, and the host asks first.
	Initial() []byte
	// Next answers a challenge. An error means that the exchange cannot go on and is to be cancelled; it holds nothing
	// the host said.
	Next(challenge []byte) ([]byte, error)
	// Finish judges the host's word that all is well: an error when the host had to prove itself and has not.
	Finish() error
}

// Choose begins the best mechanism that the host offers, by names in upper case. The error is ErrNoMechanism, or one of
// Check.
func Choose(offered []string, c Credentials) (Exchange, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	for _, make := range []func(Credentials) Exchange{newSCRAM, newPlain, newLogin} {
		if x := make(c); slices.Contains(offered, x.Name()) {
			return x, nil
		}
	}
	return nil, ErrNoMechanism
}

// errChallenge is a challenge that the mechanism has no place for.
var errChallenge = errors.New("sasl: a challenge out of place")
