// SPDX-License-Identifier: Apache-2.0

package idempotency

import "github.com/postrider/postrider/kit/bus"

// FromSegment returns the message whose first record stands at an index of a segment.
func FromSegment(s bus.Segment, index int) (Earlier, error) {
	e := Earlier{}
	for ; index < s.Len() || e.MessageID == ""; index++ {
		frame, err := s.Frame(index) // an error when there is none
		if err != nil {
			return Earlier{}, err
		}
		record, err := frame.Mail()
		if err != nil {
			return Earlier{}, err
		}
		if e.MessageID == "" {
			e.MessageID, e.AcceptedAt, e.Digest = record.GetMessageId(), record.GetAcceptedAt().AsTime(), record.GetSubmitDigest()
		}
		if record.GetMessageId() != e.MessageID {
			break
		}
		e.Recipients += len(record.GetEnvelope().GetRecipients())
	}
	return e, nil
}
