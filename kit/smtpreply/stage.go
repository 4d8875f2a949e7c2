// SPDX-License-Identifier: Apache-2.0

package smtpreply

import eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"

// Stage is the step of an SMTP session, or of the way to it, that was waiting for an answer. Its numbers are those of
// event.v1.Stage.
type Stage int

// The stages in the order of a session.
const (
	StageUnspecified = Stage(eventv1.Stage_STAGE_UNSPECIFIED)
	// StageLocal is before any network work: configuration, a size known before.
	StageLocal = Stage(eventv1.Stage_STAGE_LOCAL)
	// StageResolve is the lookup of the route.
	StageResolve = Stage(eventv1.Stage_STAGE_RESOLVE)
	// StageConnect is the TCP connect.
	StageConnect = Stage(eventv1.Stage_STAGE_CONNECT)
	// StageGreeting is the wait for the greeting (RFC 5321, section 3.1).
	StageGreeting = Stage(eventv1.Stage_STAGE_GREETING)
	// StageEhlo is EHLO (RFC 5321, section 4.1.1.1).
	StageEhlo = Stage(eventv1.Stage_STAGE_EHLO)
	// StageHelo is HELO.
	StageHelo = Stage(eventv1.Stage_STAGE_HELO)
	// StageStartTLS is the STARTTLS command (RFC 3207).
	StageStartTLS = Stage(eventv1.Stage_STAGE_STARTTLS)
	// StageTLS is the handshake after STARTTLS.
	StageTLS = Stage(eventv1.Stage_STAGE_TLS)
	// StageAuth is AUTH (RFC 4954).
	StageAuth = Stage(eventv1.Stage_STAGE_AUTH)
	// StageMail is MAIL.
	StageMail = Stage(eventv1.Stage_STAGE_MAIL)
	// StageRcpt is RCPT.
	StageRcpt = Stage(eventv1.Stage_STAGE_RCPT)
	// StageData is the DATA command until its 354.
	StageData = Stage(eventv1.Stage_STAGE_DATA)
	// StageContent is the sending of the content.
	StageContent = Stage(eventv1.Stage_STAGE_CONTENT)
	// StageDot is after the final dot.
	StageDot = Stage(eventv1.Stage_STAGE_DOT)
	// StageRset is RSET.
	StageRset = Stage(eventv1.Stage_STAGE_RSET)
	// StageQuit is QUIT.
	StageQuit = Stage(eventv1.Stage_STAGE_QUIT)
)

// String returns the word for the stage used in logs, spans and the command line, such as "greeting" or "rcpt".
// Unknown numbers, also those of newer binaries, give "unspecified".
func (s Stage) String() string {
	switch s {
	case StageLocal:
		return "local"
	case StageResolve:
		return "resolve"
	case StageConnect:
		return "connect"
	case StageGreeting:
		return "greeting"
	case StageEhlo:
		return "ehlo"
	case StageHelo:
		return "helo"
	case StageStartTLS:
		return "starttls"
	case StageTLS:
		return "tls"
	case StageAuth:
		return "auth"
	case StageMail:
		return "mail"
	case StageRcpt:
		return "rcpt"
	case StageData:
		return "data"
	case StageContent:
		return "content"
	case StageDot:
		return "dot"
	case StageRset:
		return "rset"
	case StageQuit:
		return "quit"
	default:
		return "unspecified"
	}
}

// Proto returns the stage as it stands in event.v1.
func (s Stage) Proto() eventv1.Stage {
	if _, known := eventv1.Stage_name[int32(s)]; !known {
		return eventv1.Stage_STAGE_UNSPECIFIED
	}
	return eventv1.Stage(s)
}

// StageFromProto returns the stage of an event; numbers this binary does not know become StageUnspecified.
func StageFromProto(s eventv1.Stage) Stage {
	if _, known := eventv1.Stage_name[int32(s)]; !known {
		return StageUnspecified
	}
	return Stage(s)
}
