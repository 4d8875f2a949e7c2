// SPDX-License-Identifier: Apache-2.0

// Package smtpclient speaks SMTP to one host: it opens a session and hands messages over (RFC 5321).
//
// [Dial] goes through the phases connect, greeting, EHLO, STARTTLS and AUTH; [Conn.Send] goes through MAIL, RCPT, DATA, the
// content and the final dot, pipelined when the host offers it (RFC 2920); [Conn.Quit] ends the session. Each phase has
// its file and its time limit. What came out is told as facts: a [smtpreply.Error] with stage and reply for each
// recipient. Whether a failure means another host, a later attempt or a bounce is decided in package verdict, which
// host comes next in package mxfailover.
//
// One goroutine reads replies from connect to close while the caller's goroutine writes, so that a reply, an end of
// file or a reset is seen at once, also in the middle of the content and while a write blocks. Every wait has a time
// limit that covers the whole reply, every reply is bounded in bytes and lines. No goroutine and no socket outlives
// Conn.Quit or Conn.Close.
//
// The package keeps no connections for reuse, looks nothing up in DNS and stores nothing.
package smtpclient
