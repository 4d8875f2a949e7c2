// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// KeySize is the size of a key in bytes.
const KeySize = sha256.Size

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 4096

// Key seals trace headers. All gateways of one queue share it.
type Key [KeySize]byte

// NewKey returns a random key.
func NewKey() (Key, error) {
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return Key{}, fmt.Errorf("make trace key: %w", err)
	}
	return k, nil
}

// ReadKeyFile reads gateway.trace_key_file: 32 bytes as 64 hexadecimal digits on one line.
func ReadKeyFile(name string) (Key, error) {
	f, err := os.Open(name)
	if err != nil {
		return Key{}, fmt.Errorf("read trace key: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read trace key %s: %w", name, err)
	}
	k, err := ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return Key{}, fmt.Errorf("read trace key %s: %w", name, err)
	}
	return k, nil
}

// ParseKey reads the form Hex gives.
func ParseKey(text string) (Key, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != KeySize {
		return Key{}, errors.New("must be 64 hexadecimal digits")
	}
	return Key(raw), nil
}

// Hex returns the key as 64 hexadecimal digits.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// String keeps the key out of logs.
func (Key) String() string { return "(key)" }

// GoString keeps the key out of logs.
func (Key) GoString() string { return "(key)" }
