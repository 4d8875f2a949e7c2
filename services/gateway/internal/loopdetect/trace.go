// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// TraceField is the name of our trace header field (L-03).
const TraceField = "Postrider-Trace"

const (
	// maxSealed is how many recipients a trace header names, the first of the message.
	maxSealed = 100
	// maxTraceValue bounds the value of a trace header we read, in bytes.
	maxTraceValue = 2048
	hashBytes     = 6  // 48 bits of the keyed hash of an address
	sealBytes     = 16 // 128 bits of the keyed digest
)

// Trace is what a trace header says.
type Trace struct {
	// Instance is the name of the node that wrote it; for people, it decides nothing.
	Instance string
	// MessageID is the ULID of the message it was written for.
	MessageID string
	// Hop is the hop number the message left with.
	Hop uint32
	// Recipients are the keyed hashes of the recipients, at most 100 (Sealer.Recipient).
	Recipients []string
}

// Sealer writes trace headers and tells ours from others. It is safe for concurrent use.
type Sealer struct{ key Key }

// NewSealer returns a Sealer with a key.
func NewSealer(key Key) *Sealer { return &Sealer{key: key} }

// Recipient returns the keyed hash of an address: 48 bits in 8 characters. key is mailaddr.Address.Key, the same for
// equal addresses.
func (s *Sealer) Recipient(key string) string {
	return encode(mac(s.key, "recipient", key)[:hashBytes])
}

// Recipients returns the hashes of the first 100 addresses.
func (s *Sealer) Recipients(keys []string) []string {
	keys = keys[:min(len(keys), maxSealed)]
	hashes := make([]string, len(keys))
	for i, key := range keys {
		hashes[i] = s.Recipient(key)
	}
	return hashes
}

// Field returns the trace as a folded header field with its CRLF.
func (s *Sealer) Field(t Trace) []byte {
	out := make([]byte, 0, 128+9*len(t.Recipients)+len(t.Recipients)/4)
	out = append(out, TraceField+": v=1; i="...)
	out = append(out, t.Instance...)
	out = append(out, "; m="...)
	out = append(out, t.MessageID...)
	out = append(out, "; h="...)
	out = strconv.AppendUint(out, uint64(t.Hop), 10)
	out = append(out, ";\r\n\tr="...)
	for i, hash := range t.Recipients {
		if i > 0 {
			out = append(out, ',')
			if i%8 == 0 {
				out = append(out, "\r\n\t"...)
			}
		}
		out = append(out, hash...)
	}
	out = append(out, ";\r\n\td="...)
	out = append(out, s.seal(t)...)
	return append(out, "\r\n"...)
}

// Open reads the unfolded value of a trace header. ok is false when it was not written with our key, or was changed.
func (s *Sealer) Open(value string) (t Trace, ok bool) {
	if len(value) > maxTraceValue {
		return Trace{}, false
	}
	seal, version := "", ""
	for part := range strings.SplitSeq(value, ";") {
		name, text, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "v":
			version = text
		case "i":
			t.Instance = text
		case "m":
			t.MessageID = text
		case "h":
			hop, err := strconv.ParseUint(text, 10, 32)
			if err != nil || hop > maxHop {
				return Trace{}, false
			}
			t.Hop = uint32(hop)
		case "r":
			t.Recipients = hashes(text)
		case "d":
			seal = text
		}
	}
	if version != "1" || len(t.Recipients) > maxSealed || !hmac.Equal([]byte(seal), []byte(s.seal(t))) {
		return Trace{}, false
	}
	return t, true
}

// hashes splits the list of recipients; the white space of folding does not count.
func hashes(text string) []string {
	if text == "" {
		return nil
	}
	list := strings.Split(text, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// seal returns the keyed digest over everything the header says.
func (s *Sealer) seal(t Trace) string {
	hop := strconv.FormatUint(uint64(t.Hop), 10)
	return encode(mac(s.key, "trace", "1", t.Instance, t.MessageID, hop, strings.Join(t.Recipients, ","))[:sealBytes])
}

// mac is a keyed digest over parts; each is ended by a byte that stands in none of them.
func mac(key Key, parts ...string) []byte {
	h := hmac.New(sha256.New, key[:])
	buf := make([]byte, 0, 128)
	for _, part := range parts {
		buf = append(append(buf, part...), 0)
	}
	h.Write(buf)
	return h.Sum(buf[:0])
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
