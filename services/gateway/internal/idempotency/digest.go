// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// digestVersion stands first in a digest, so that a later form never equals an earlier one.
const digestVersion = "postrider submission 1"

// Digest returns the SHA-256 over what was submitted: the envelope as it came, without the key itself, and the SHA-256
// of the content. What the gateway made of them does not count, since that depends on the time of the call.
func Digest(e *gatewayv1.Envelope, content []byte) []byte {
	w := writer{sha256.New()}
	w.text(digestVersion, e.GetSender(), e.GetTenant(), e.GetEnvid(), e.GetTag(), e.GetReportsOn())
	w.numbers(uint64(e.GetPriority()), uint64(e.GetRet()), flag(e.GetRequireTls()), uint64(len(e.GetRecipients())))
	w.numbers(flag(e.GetNotBefore() != nil), uint64(e.GetNotBefore().GetSeconds()), uint64(e.GetNotBefore().GetNanos()))
	for _, r := range e.GetRecipients() {
		w.text(r.GetAddress(), r.GetOrcpt())
		w.numbers(uint64(len(r.GetNotify())))
		for _, n := range r.GetNotify() {
			w.numbers(uint64(n))
		}
	}
	w.text(string(content))
	return w.Sum(nil)
}

// writer writes values so that no two lists of values give the same bytes.
type writer struct{ hash.Hash }

func (w writer) numbers(values ...uint64) {
	var buf [8]byte
	for _, v := range values {
		binary.BigEndian.PutUint64(buf[:], v)
		w.Write(buf[:])
	}
}

func (w writer) text(values ...string) {
	for _, v := range values {
		w.numbers(uint64(len(v)))
		w.Write([]byte(v))
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
