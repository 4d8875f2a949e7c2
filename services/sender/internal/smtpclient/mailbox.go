// SPDX-License-Identifier: Apache-2.0

package smtpclient

import "sync"

// mailbox is where the reading goroutine leaves replies for the one that writes. It keeps account of how many replies
// are awaited: one that nothing was sent for is surplus, and is never matched to a later command (S-32).
type mailbox struct {
	wake      chan struct{} // holds at most one token: something has changed
	interrupt func()        // ends a write that blocks; called with mu held, must not block
	withdraw  func()        // ends the write of the final dot; likewise

	mu       sync.Mutex
	replies  []rawReply // complete and awaited; those before taken are gone
	taken    int
	awaited  int      // replies still to come for what was sent
	surplus  rawReply // first reply nobody asked for; code 0: none
	partial  bool     // part of such a reply has come
	fault    error    // why reading ended
	sending  bool     // content is on its way: any input interrupts it (S-57, S-59)
	ending   bool     // the dot is on its way: a reply ends its write
	handOver bool     // the reader stops behind a 220 to STARTTLS
	lost     func()   // told of input that comes while the session waits for its next message; nil: it does not
}

func newMailbox(interrupt, withdraw func()) *mailbox {
	return &mailbox{wake: make(chan struct{}, 1), interrupt: interrupt, withdraw: withdraw}
}

// put takes the replies that came together. partial says that input lies behind them that is no complete reply yet.
// It returns false when the reader has to stop.
func (m *mailbox) put(batch []rawReply, partial bool) (goOn bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	goOn = true
	for _, r := range batch {
		if m.awaited == 0 {
			m.surplus, goOn = r, false
			break
		}
		m.awaited--
		m.replies = append(m.replies, r)
		if m.handOver && m.awaited == 0 && r.code == 220 {
			goOn = false
		}
	}
	if m.awaited == 0 && partial {
		m.partial = true
	}
	switch {
	case m.sending && m.surplus.code != 0:
		m.interrupt()
	case m.ending && len(batch) > 0:
		m.withdraw()
	}
	m.tellLost()
	m.signal()
	return goOn
}

// begun notes that input begins. Nobody asked for it where no reply is awaited, whatever it will be; while content is
// sent the first complete reply is waited for (S-57).
func (m *mailbox) begun() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.awaited == 0 && !m.sending {
		m.partial = true
		m.tellLost()
	}
}

// tellLost tells of a session that is of no more use while it waits for its next message; mu is held.
func (m *mailbox) tellLost() {
	if lost := m.lost; lost != nil {
		m.lost = nil
		lost()
	}
}

// park sets what is told of input, if nothing has come yet.
func (m *mailbox) park(lost func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.isQuiet() {
		return false
	}
	m.lost = lost
	return true
}

// unpark takes it back and reports whether nothing has come.
func (m *mailbox) unpark() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = nil
	return m.isQuiet()
}

// fail notes why reading ended and ends a write that blocks.
func (m *mailbox) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
	m.interrupt()
	m.tellLost()
	m.signal()
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// expect announces n replies to what is about to be sent. It returns false, and nothing may be sent, when the
// connection is of no more use: input came that nobody asked for, or reading has ended.
func (m *mailbox) expect(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.announce(n)
}

// announce is expect with mu held.
func (m *mailbox) announce(n int) bool {
	m.sending = false
	if m.surplus.code != 0 || m.partial || m.fault != nil {
		return false
	}
	m.awaited += n
	return true
}

// expectDot is expect for the final dot and for riding commands behind it. Until dotSent a reply that comes ends the
// write, so that it is not taken for the answer to a dot that was not written when it came (S-58).
func (m *mailbox) expectDot(riding int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending = m.announce(1 + riding)
	return m.ending
}

// dotSent says that the dot is written.
func (m *mailbox) dotSent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending = false
}

// startContent says that no reply is due while content is sent. It returns false when one has come already.
func (m *mailbox) startContent() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sending = true
	return m.surplus.code == 0 && !m.partial && m.fault == nil
}

// stopAt220 makes the reader stop, or no longer stop, behind the 220 that the next expected reply may be (RFC 3207,
// section 4).
func (m *mailbox) stopAt220(stop bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handOver = stop
}

// next takes the next awaited reply. Without one it tells, if that is settled, why none can come: surplus input (with
// the reply, if it is complete) or the end of reading. Neither means: wait for wake.
func (m *mailbox) next() (reply rawReply, surplus rawReply, fault error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken < len(m.replies) {
		reply = m.replies[m.taken]
		m.replies[m.taken] = rawReply{}
		if m.taken++; m.taken == len(m.replies) {
			m.replies, m.taken = m.replies[:0], 0
		}
		return reply, rawReply{}, nil
	}
	return rawReply{}, m.surplus, m.fault
}

// outOfStep reports input that nobody asked for, complete or not.
func (m *mailbox) outOfStep() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.surplus.code != 0 || m.partial
}

// quiet reports that nothing is awaited, nothing unexpected came and the connection is still read.
func (m *mailbox) quiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isQuiet()
}

// isQuiet is quiet with mu held.
func (m *mailbox) isQuiet() bool {
	return m.awaited == 0 && m.surplus.code == 0 && !m.partial && m.fault == nil
}
