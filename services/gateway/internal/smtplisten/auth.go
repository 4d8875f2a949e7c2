// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"encoding/base64"
	"strings"
)

// auth is AUTH PLAIN (RFC 4616) and AUTH LOGIN: the user is the name of a token, the password the token (RFC 4954).
func (ss *session) auth(argument string) {
	mechanism, initial, _ := strings.Cut(argument, " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case !ss.tls:
		ss.wrong(538, "5.7.11", "TLS must be on before AUTH")
	case ss.s.o.Caller == nil:
		ss.wrong(502, "5.5.1", "there is no AUTH here")
	case ss.caller.Name != "" || ss.tx != nil:
		ss.wrong(503, "5.5.1", "AUTH comes once, and before MAIL")
	case mechanism != "PLAIN" && mechanism != "LOGIN":
		ss.wrong(504, "5.5.4", "the mechanism is not known: PLAIN or LOGIN")
	default:
		user, password, ok := ss.credentials(mechanism, strings.TrimSpace(initial))
		if ok {
			ss.check(user, password)
		}
	}
}

// credentials asks for what the mechanism needs. When ok is false the client has been told why.
func (ss *session) credentials(mechanism, initial string) (user, password string, ok bool) {
	if mechanism == "LOGIN" {
		if user, ok = ss.response(initial, "VXNlcm5hbWU6"); !ok { // "Username:"
			return "", "", false
		}
		password, ok = ss.response("", "UGFzc3dvcmQ6") // "Password:"
		return user, password, ok
	}
	text, ok := ss.response(initial, "")
	if !ok {
		return "", "", false
	}
	parts := strings.Split(text, "\x00")
	if len(parts) != 3 || (parts[0] != "" && parts[0] != parts[1]) {
		ss.wrong(501, "5.5.2", "the response of PLAIN is not in order")
		return "", "", false
	}
	return parts[1], parts[2], true
}

// response decodes a response, after asking for it when it did not come with the command.
func (ss *session) response(initial, challenge string) (text string, ok bool) {
	if initial == "" {
		ss.write("334 " + challenge + "\r\n")
		var err error
		if initial, err = ss.line(ss.s.o.Timeout); err != nil {
			ss.broken(err)
			ss.closing = true
			return "", false
		}
	}
	if initial == "*" {
		ss.wrong(501, "5.7.0", "AUTH was cancelled")
		return "", false
	}
	if initial == "=" {
		return "", true
	}
	decoded, err := base64.StdEncoding.DecodeString(initial)
	if err != nil {
		ss.wrong(501, "5.5.2", "the response is not base64")
		return "", false
	}
	return string(decoded), true
}

// check looks the token up. A wrong name and a wrong token are answered alike.
func (ss *session) check(user, password string) {
	caller, known := ss.s.o.Caller(password)
	if known && caller.Name == user && user != "" {
		ss.caller = caller
		ss.reply(235, "2.7.0", "authenticated")
		return
	}
	ss.reply(535, "5.7.8", "the credentials are not valid")
	if ss.failures++; ss.failures >= maxAuthFailures {
		ss.reply(421, "4.7.0", "%s too many failed logins", ss.s.o.Node)
		ss.closing = true
	}
}
