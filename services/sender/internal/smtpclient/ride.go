// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"

	"github.com/postrider/postrider/kit/smtpreply"
)

// maxRide is how many octets of commands ride behind a final dot. A longer envelope waits for the reply to the dot.
const maxRide = 4 << 10

// ride is the envelope of the message that goes next over a session: MAIL, RCPT and DATA written together with the final
// dot of the message before (RFC 2920, section 3.1). A nil ride is none.
type ride struct {
	t       *transaction
	todo    []int // recipients of the message
	lines   []byte
	refused bool // the dot before was answered 4yz or 5yz
}

// board asks for the message that goes next and, if this session can take it, returns its envelope.
func (t *transaction) board() (lines []byte) {
	if t.m.Next != nil && t.c.ext.Pipelining && t.last && len(t.again) == 0 {
		t.m.Next(func(next *Message) { lines = t.c.board(next) })
	}
	return lines
}

func (c *Conn) board(next *Message) []byte {
	if next.MayStart != nil && !next.MayStart() {
		return nil
	}
	d, todo := newDelivery(c, next)
	if d.prepare() != nil {
		return nil // told when its turn comes
	}
	first := d.transaction(todo)
	lines := first.appendMail(c.rideLines[:0])
	for k := range first.rcpts {
		lines = first.appendRcpt(lines, k)
	}
	lines = append(lines, dataLine...)
	if c.rideLines = lines; len(lines) > maxRide {
		return nil
	}
	c.mails++
	c.ride = &ride{t: first, todo: todo, lines: lines}
	d.aboard, first.rides = first, c.ride
	return lines
}

// Rides is the message whose envelope is on its way: Send must be called with it next, or the session ended. nil: there
// is none, or the session is lost.
func (c *Conn) Rides() *Message {
	if c.state != stateRiding {
		return nil
	}
	return c.ride.t.m
}

// boarded is the delivery of m when its envelope is on its way; nil otherwise.
func (c *Conn) boarded(m *Message) (d *delivery, todo []int) {
	if c.Rides() != m {
		return nil, nil
	}
	r := c.ride
	c.ride = nil
	return r.t.delivery, r.todo
}

// tell notes the commands of a ride in the transcript of its own message.
func (c *Conn) tell(r *ride) {
	for line := range bytes.Lines(r.lines) {
		c.log.command(line)
	}
}

// replies is how many replies the ride awaits.
func (r *ride) replies() int {
	if r == nil {
		return 0
	}
	return 2 + len(r.t.rcpts)
}

// afterRefusal notes that the message before was refused at its dot.
func (r *ride) afterRefusal() {
	if r != nil {
		r.refused = true
	}
}

// disturbed reports a host for which the transaction before was not over with a refusal of its dot, though it is (RFC
// 5321, section 4.1.1.4): its 503 to MAIL speaks of that one.
func (r *ride) disturbed(fail *smtpreply.Error) bool {
	return r != nil && r.refused && fail.Code == 503
}
