// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// reasonData is data that did not arrive whole.
const reasonData = "DATA_INCOMPLETE"

// answer is what the submission is told when the data break off.
func (s *source) answer(err error) error {
	if errors.Is(err, errBareData) {
		return &content.Fault{Reason: content.ReasonBareNewline, Enhanced: smtpreply.Code(5, 6, 0), Detail: "the content holds a bare CR or a bare LF"}
	}
	return &rpc.Error{
		Code: codes.Canceled, Reason: reasonData, Enhanced: smtpreply.Code(4, 4, 2),
		Message: "the data did not arrive whole", Err: err,
	}
}

// refuse gives an error as a reply.
func (ss *session) refuse(err error) {
	if own, ok := errors.AsType[*refusal](err); ok {
		ss.wrong(own.code, own.enhanced, "%s", own.text)
		return
	}
	e := rpc.FromError(err)
	code := replyCode(e)
	enhanced := e.Enhanced
	if enhanced.IsZero() || enhanced.Class != code/100 {
		enhanced = smtpreply.Code(code/100, 0, 0)
	}
	ss.reply(code, enhanced.String(), "%s", replyText(e))
}

// replyCode returns the SMTP code of a typed error (RFC 5321, section 4.2.3; G-13).
func replyCode(e *rpc.Error) int {
	if e.Enhanced.Class == 4 || e.Enhanced.IsZero() {
		if e.Code == codes.ResourceExhausted {
			return 452
		}
		return 451
	}
	switch e.Enhanced.String() {
	case "5.1.3", "5.1.7":
		return 553
	case "5.3.4":
		return 552
	case "5.5.4":
		return 501
	case "5.4.6":
		return 554
	}
	return 550
}

// replyText is the sentence of the first field at fault, or that of the error.
func replyText(e *rpc.Error) string {
	if len(e.Fields) == 0 || e.Reason == submit.ReasonLoop { // which names the message, for postrider explain
		return e.Message
	}
	if e.Fields[0].Field == "content" {
		return e.Fields[0].Description
	}
	name := e.Fields[0].Field
	return name[strings.LastIndexByte(name, '.')+1:] + " " + e.Fields[0].Description
}
