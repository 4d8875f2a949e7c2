// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// recipientFault is what is wrong with one recipient.
type recipientFault struct {
	field    string // below envelope.recipients[i]
	whole    string // reason of an answer that refuses everything
	reason   string // reason of this recipient
	enhanced smtpreply.EnhancedCode
	detail   string
}

// recipients checks every recipient, joins equal ones and either collects the bad ones as faults or, when a part may be
// taken, sets them aside (G-04, G-05).
func (c *checker) recipients(in *gatewayv1.Envelope, out *Envelope) {
	given := in.GetRecipients()
	if n := len(given); n == 0 || n > MaxRecipients {
		c.add("envelope.recipients", reasonRecipients, smtpreply.Code(5, 5, 3), "must be 1 to %d, not %d", MaxRecipients, n)
		return
	}
	bad := checker{}
	out.Recipients = make([]Recipient, 0, len(given))
	seen := make(map[string]struct{}, len(given))
	for i, r := range given {
		taken, fault := checkRecipient(r, uint32(i))
		if fault != nil {
			bad.add(fmt.Sprintf("envelope.recipients[%d].%s", i, fault.field), fault.whole, fault.enhanced, "%s", fault.detail)
			out.Refused = append(out.Refused, &gatewayv1.RefusedRecipient{
				Index: uint32(i), Reason: fault.reason, Enhanced: fault.enhanced.String(), Message: fault.detail,
			})
			continue
		}
		key := taken.Address.Local + "@" + taken.Destination
		if _, double := seen[key]; double {
			continue // kept once; the first one's DSN parameters count
		}
		seen[key] = struct{}{}
		out.Recipients = append(out.Recipients, taken)
	}
	if len(bad.fields) == 0 || in.GetPartial() && len(out.Recipients) > 0 {
		return
	}
	if len(c.fields) == 0 {
		c.reason, c.enhanced = bad.reason, bad.enhanced
	}
	c.fields = append(c.fields, bad.fields...)
}

func checkRecipient(in *gatewayv1.Recipient, index uint32) (Recipient, *recipientFault) {
	address, err := mailaddr.Parse(in.GetAddress())
	if fault, ok := errors.AsType[*mailaddr.ParseError](err); ok {
		return Recipient{}, &recipientFault{
			field: "address", whole: reasonRecipient, reason: strings.ToUpper(string(fault.Reason)),
			enhanced: fault.Enhanced, detail: fault.Detail,
		}
	}
	r := Recipient{Address: address, Destination: address.Destination(), Index: index}
	if detail := r.notify(in.GetNotify()); detail != "" {
		return Recipient{}, dsnFault("notify", detail)
	}
	if detail := r.orcpt(in.GetOrcpt()); detail != "" {
		return Recipient{}, dsnFault("orcpt", detail)
	}
	return r, nil
}

func dsnFault(field, detail string) *recipientFault {
	return &recipientFault{field: field, whole: reasonDSN, reason: reasonDSN, enhanced: syntaxError(), detail: detail}
}

// notify takes NOTIFY: NEVER alone, or any of the others (RFC 3461, section 4.1).
func (r *Recipient) notify(values []eventv1.Notify) (fault string) {
	for _, v := range values {
		if _, known := eventv1.Notify_name[int32(v)]; !known || v == eventv1.Notify_NOTIFY_UNSPECIFIED {
			return "must be of NEVER, SUCCESS, FAILURE and DELAY"
		}
		if !slices.Contains(r.Notify, v) {
			r.Notify = append(r.Notify, v)
		}
	}
	if len(r.Notify) > 1 && slices.Contains(r.Notify, eventv1.Notify_NOTIFY_NEVER) {
		return "NEVER must stand alone"
	}
	return ""
}

// orcpt takes ORCPT as "type;address" (RFC 3461, section 4.2; RFC 6533, section 3, for the type utf-8).
func (r *Recipient) orcpt(text string) (fault string) {
	if text == "" {
		return ""
	}
	if len(text) > maxOrcpt {
		return fmt.Sprintf("must be at most %d octets", maxOrcpt)
	}
	kind, address, found := strings.Cut(text, ";")
	if !found || !isAtom(kind) || address == "" {
		return "must be an address type, a semicolon and an address"
	}
	if strings.EqualFold(kind, "utf-8") && hasControl(address) {
		return "must not hold control characters"
	}
	if !strings.EqualFold(kind, "utf-8") && !printable(address) {
		return "must be printable US-ASCII"
	}
	r.OrcptType, r.OrcptAddress = kind, address
	return ""
}

// isAtom reports an RFC 5322 atom.
func isAtom(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return text != ""
}
