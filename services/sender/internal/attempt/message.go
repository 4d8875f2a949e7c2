// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"strings"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// message is a record as the SMTP client takes it.
func message(rec *eventv1.QueuedMail, mayStart func() bool) *smtpclient.Message {
	envelope, content := rec.GetEnvelope(), rec.GetContent()
	m := &smtpclient.Message{
		From: envelope.GetSender(), Size: int64(content.GetSize()), NoDotLines: !content.GetDotLines(),
		HeaderSize: int64(content.GetHeaderSize()), EightBit: envelope.GetEightBit(), UTF8: envelope.GetSmtputf8(),
		RequireTLS: envelope.GetRequireTls(), Ret: ret(envelope.GetRet()), EnvID: envelope.GetEnvid(), MayStart: mayStart,
		Recipients: make([]smtpclient.Recipient, len(envelope.GetRecipients())),
	}
	for i, r := range envelope.GetRecipients() {
		m.Recipients[i] = smtpclient.Recipient{
			Address: r.GetAddress(), Notify: notify(r.GetNotify()), ORcptType: r.GetOrcptType(), ORcpt: r.GetOrcptAddress(),
		}
	}
	return m
}

// ret is the value of RET (RFC 3461, section 4.3).
func ret(r eventv1.Ret) string {
	switch r {
	case eventv1.Ret_RET_FULL:
		return "FULL"
	case eventv1.Ret_RET_HDRS:
		return "HDRS"
	default:
		return ""
	}
}

// notify is the value of NOTIFY (RFC 3461, section 4.1). Values of a newer binary are left out.
func notify(values []eventv1.Notify) string {
	words := make([]string, 0, len(values))
	for _, v := range values {
		switch v {
		case eventv1.Notify_NOTIFY_NEVER:
			return "NEVER"
		case eventv1.Notify_NOTIFY_SUCCESS:
			words = append(words, "SUCCESS")
		case eventv1.Notify_NOTIFY_FAILURE:
			words = append(words, "FAILURE")
		case eventv1.Notify_NOTIFY_DELAY:
			words = append(words, "DELAY")
		}
	}
	return strings.Join(words, ",")
}
