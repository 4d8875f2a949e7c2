// SPDX-License-Identifier: Apache-2.0

package report

import (
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// returned makes the third part (RFC 6522, section 3): the whole original when RET=FULL asks for it and rule D-08 allows
// it, else its header block, else nothing when nothing is known of it. global says that the notification travels to an
// address that needs SMTPUTF8, so that its way carries eight bits.
func (c Composer) returned(in Input, global bool) (*part, text.Returned) {
	if c.returnsWhole(in) {
		if p := wholePart(in, global); p != nil {
			return p, text.ReturnedMessage
		}
	}
	block, whole := cutHeader(headerBlock(in.Original), maxReturnedHeader)
	if len(block) == 0 {
		return nil, text.ReturnedNothing
	}
	p := &part{contentType: "text/rfc822-headers", description: "Header of your message"}
	if in.Outcome.GetSmtputf8() {
		p.contentType = "message/global-headers"
	} else if !isASCII(block) && validUTF8(block) {
		p.contentType += "; charset=utf-8"
	}
	p.encoding, p.body = encode(block, global)
	if !whole {
		return p, text.ReturnedSomeHeaders
	}
	return p, text.ReturnedHeaders
}

// returnsWhole applies rule D-08: RET=FULL counts for failures only (RFC 3461, section 4.3), not above the limit, and
// never for a REQUIRETLS original (RFC 8689, section 5).
func (c Composer) returnsWhole(in Input) bool {
	o := in.Outcome
	size := max(int64(len(in.Original)), int64(min(o.GetContent().GetSize(), 1<<62)))
	return in.Kind == policy.Failed &&
		o.GetRet() == eventv1.Ret_RET_FULL &&
		o.GetReturnsFullContent() &&
		!o.GetRequireTls() &&
		len(in.Original) > 0 &&
		size <= c.MaxReturned
}

// wholePart returns the whole original. A message/rfc822 must not be encoded (RFC 2046, section 5.2.1), so one that
// cannot stand as it is (bare CR or LF, NUL, lines over 998 octets) is not returned. A message/global may be encoded
// (RFC 6532, section 3.7), and is when the way of the notification may have seven bits only.
func wholePart(in Input, global bool) *part {
	p := &part{contentType: "message/rfc822", description: "Your message", body: in.Original}
	if in.Outcome.GetSmtputf8() {
		p.contentType = "message/global"
		p.encoding, p.body = encode(in.Original, global)
		return p
	}
	switch {
	case !wellFormed(in.Original):
		return nil
	case isASCII(in.Original):
		p.encoding = encoding7bit
	default:
		p.encoding = encoding8bit
	}
	return p
}
