// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"
)

// Recipient is a forward-path as the client gave it.
type Recipient struct {
	Address string   // without angle brackets
	Params  []string // after the path, such as NOTIFY=FAILURE
}

// Message is a message that came to its final dot.
type Message struct {
	Conn        int // ConnInfo.ID
	Transaction int // of that connection, from 1

	From   string      // reverse-path without angle brackets; empty: the null sender
	Params []string    // of MAIL
	Rcpts  []Recipient // those that were answered 2xx

	Data   []byte   // as it was before the client added dots; nil with DiscardBody
	Size   int64    // octets of Data
	SHA256 [32]byte // of Data

	Verb  string               // EHLO or HELO
	Helo  string               // its argument
	TLS   *tls.ConnectionState // nil: in the clear
	At    time.Time            // when the final dot had been read
	Reply string               // to the final dot, without CRLF; empty: none was sent
}

// Accepted reports whether the host took the message: a 2xx reply to the final dot was sent.
func (m *Message) Accepted() bool { return len(m.Reply) > 0 && m.Reply[0] == '2' }

// To gives the addresses of the recipients.
func (m *Message) To() []string {
	to := make([]string, len(m.Rcpts))
	for i, r := range m.Rcpts {
		to[i] = r.Address
	}
	return to
}

// ConnInfo is what a host knows about one connection.
type ConnInfo struct {
	ID         int // from 1, in the order of acceptance
	Remote     netip.AddrPort
	AcceptedAt time.Time

	Open     bool      // not closed yet
	ClosedAt time.Time // when Open is false
	Closed   CloseKind // who closed and how, when Open is false: ClosedHere is the host

	TLS      bool     // STARTTLS was completed
	TLSError string   // why the handshake failed
	Commands []string // every command line, in order
	// Groups are the same by pipelined groups as they arrived; the data of a message stand there as "." and begin a
	// group, which commands may follow (RFC 2920, section 3.1).
	Groups   [][]string
	Messages int // transactions that came to their final dot
}

// Counts is how many connections a host has seen.
type Counts struct {
	Accepted     int // connections accepted
	Open         int // open now
	ClosedByPeer int // ended by the client, with FIN or RST
	Messages     int // messages accepted
	Refused      int // messages that came to their final dot and got no 2xx
}

// ID names the message at its host: connection and transaction.
func (m *Message) ID() string { return fmt.Sprintf("%d.%d", m.Conn, m.Transaction) }
