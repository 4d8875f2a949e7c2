// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// move is what a random host does at one point of the dialogue.
type move struct {
	kind string // good, reply, drop, cut, silent
	text string
}

// host plays moves and notes whether a 2yz reply was completed after the final dot had been read.
type host struct {
	moves []move
	conn  net.Conn
	br    *bufio.Reader

	dotRead  bool
	named    []string        // by RCPT in this transaction
	due      []string        // named before a dot behind which no complete reply was sent yet
	promised map[string]bool // of these, those the first complete reply behind the dot was 2yz for
}

func drawMoves(t *rapid.T) []move {
	replies := []string{
		"250 ok\r\n", "250 2.0.0 ok\r\n", "220 mx\r\n", "354 go\r\n", "421 4.3.2 bye\r\n", "450 4.2.1 later\r\n", "452 too many\r\n",
		"550 5.1.1 no\r\n", "552 too big\r\n", "554 5.7.1 no\r\n", "500 what\r\n", "555 parameter\r\n", "250-a\r\n250 b\r\n",
		"250-a\r\n550 b\r\n", "garbage\r\n", "2\r\n", "250", "250-open\r\n", "\r\n", "250 ok\r\n250 ok\r\n", "354 go\r\n250 ok\r\n",
		"250 ok\r\n421 bye\r\n", "250 ok\r\n2", "999 x\r\n", "\x00\xff\r\n", "",
	}
	one := rapid.Custom(func(t *rapid.T) move {
		switch rapid.IntRange(0, 30).Draw(t, "kind") {
		case 0, 1:
			return move{"reply", rapid.SampledFrom(replies).Draw(t, "reply")}
		case 2:
			return move{kind: "drop"}
		case 3:
			return move{"cut", rapid.SampledFrom(replies).Draw(t, "reply")}
		case 4:
			return move{kind: "silent"}
		case 5:
			return move{"early", rapid.SampledFrom(replies).Draw(t, "reply")}
		default:
			return move{kind: "good"}
		}
	})
	return rapid.SliceOfN(one, 12, 24).Draw(t, "moves")
}

// next takes the next move; a host without moves is good.
func (h *host) next() move {
	if len(h.moves) == 0 {
		return move{kind: "good"}
	}
	m := h.moves[0]
	h.moves = h.moves[1:]
	return m
}

// send writes. What comes before the dot was read has two seconds to reach the client, so that it is early beyond doubt.
func (h *host) send(text string) bool {
	_ = h.conn.SetWriteDeadline(time.Now().Add(time.Hour))
	for line := range strings.Lines(text) {
		if _, err := io.WriteString(h.conn, line); err != nil {
			return false
		}
		h.promise(line)
	}
	if !h.dotRead {
		time.Sleep(2 * time.Second)
	}
	return true
}

// promise notes what a line sent behind a dot means: the last line of a 2yz reply is a promise, also when the host meant
// it for something else.
func (h *host) promise(line string) {
	if len(line) > 3 && line[0] == '2' && line[3] == '-' || !strings.HasSuffix(line, "\n") {
		return
	}
	if line[0] == '2' {
		for _, path := range h.due {
			h.promised[path] = true
		}
	}
	h.due = nil
}

// answer plays one move at a point where good is the right reply. It returns false at the end of the session.
func (h *host) answer(good string) bool {
	switch m := h.next(); m.kind {
	case "reply", "early":
		return h.send(m.text)
	case "cut":
		h.send(m.text)
		return false
	case "drop":
		return false
	case "silent":
		time.Sleep(3 * time.Hour)
		return false
	default:
		return h.send(good)
	}
}

// serve holds one session.
func (h *host) serve() {
	defer h.conn.Close()
	h.br = bufio.NewReader(h.conn)
	if !h.answer("220 mx ESMTP\r\n") {
		return
	}
	for {
		line, err := h.br.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "MAIL":
			h.named = nil
		case "RCPT":
			h.named = append(h.named, arg)
		}
		good, known := map[string]string{
			"EHLO": "250-mx\r\n250-8BITMIME\r\n250 PIPELINING\r\n", "HELO": "250 mx\r\n", "MAIL": "250 ok\r\n", "RCPT": "250 ok\r\n",
			"RSET": "250 ok\r\n", "DATA": "354 go\r\n",
		}[verb]
		if !known || !h.answer(good) {
			return
		}
		if verb == "DATA" && !h.content() {
			return
		}
	}
}

// content reads content and dot, or says something before.
func (h *host) content() bool {
	if m := h.next(); m.kind == "early" {
		if _, err := h.br.Discard(len(m.text)); err != nil || !h.send(m.text) {
			return false
		}
	}
	for {
		line, err := h.br.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			h.dotRead, h.due = true, h.named
			defer func() { h.dotRead = false }()
			return h.answer("250 2.0.0 queued\r\n")
		}
	}
}

// Whatever the remote sends, each recipient has exactly one result, and is taken only after a complete 2yz reply to our
// dot; time, goroutines and connections are bounded.
func TestPropertyTakenOnlyAfterAReplyToTheDot(t *testing.T) {
	content := strings.Repeat("line of content\r\n", 100)
	taken, sessions := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		moves := [][]move{drawMoves(rt), drawMoves(rt), drawMoves(rt)} // of each connection
		var results []RecipientResult
		promised := map[string]bool{}
		var took time.Duration
		message := newMessage(content, "a@example.test", "b@example.test", "c@example.test")
		synctest.Test(t, func(t *testing.T) {
			o := newOptions(t)
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				h := &host{conn: server, moves: moves[0], promised: promised}
				moves = moves[1:]
				go h.serve()
				return client, nil
			}
			took = elapsed(func() {
				results = session(o, message)
			})
			time.Sleep(10 * time.Hour) // the host ends
			synctest.Wait()
		})
		sessions++
		if took > 2*time.Hour {
			rt.Fatalf("took %s", took)
		}
		for i, r := range results {
			switch {
			case r.Failure == nil:
				taken++
				if !promised["TO:<"+message.Recipients[i].Address+">"] || !r.Reply.Positive() {
					rt.Fatalf("recipient %d is taken without a promise", i)
				}
			case r.Failure.Reason == "internal":
				rt.Fatalf("recipient %d has no result of its own: %v", i, r.Failure)
			}
		}
	})
	if taken == 0 {
		t.Error("nothing was ever taken: the property was not tried")
	}
	t.Logf("%d sessions, %d recipients taken", sessions, taken)
}

// The same over sessions that are used again, each message's envelope behind the dot of the one before: whatever the host
// says, a message is taken only after a complete 2yz reply to its own dot, and one that is tried over a fresh session for
// having had no answer (S-72) was promised by nobody before.
func TestPropertyTakenOnlyAfterAReplyToItsOwnDot(t *testing.T) {
	content := strings.Repeat("line of content\r\n", 20)
	taken, rode, fresh := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		moves := [][]move{drawMoves(rt), drawMoves(rt), drawMoves(rt)} // of the first connections; later ones are good
		promised := map[string]bool{}
		var messages []*Message
		for i := range 4 {
			messages = append(messages, newMessage(content, fmt.Sprintf("m%d@example.test", i)))
		}
		results := make([]RecipientResult, len(messages))
		synctest.Test(t, func(t *testing.T) {
			o := newOptions(t)
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				h := &host{conn: server, promised: promised}
				if len(moves) > 0 {
					h.moves, moves = moves[0], moves[1:]
				}
				go h.serve()
				return client, nil
			}
			s := &sessions{o: o}
			for i, m := range messages {
				if i+1 < len(messages) {
					m.Next = func(board func(*Message)) { board(messages[i+1]) }
				}
				results[i] = s.send(m, func() bool { return promised["TO:<"+m.Recipients[0].Address+">"] })
			}
			if s.conn != nil {
				s.conn.Quit()
			}
			rode, fresh = rode+s.rode, fresh+s.fresh
			if s.twice {
				t.Error("a message that a host has promised to deliver was sent again")
			}
			time.Sleep(10 * time.Hour) // the host ends
			synctest.Wait()
		})
		for i, r := range results {
			switch {
			case r.Failure == nil:
				taken++
				if !promised["TO:<"+messages[i].Recipients[0].Address+">"] || !r.Reply.Positive() {
					rt.Fatalf("message %d is taken without a promise", i)
				}
			case r.Failure.Reason == "internal":
				rt.Fatalf("message %d has no result of its own: %v", i, r.Failure)
			}
		}
	})
	if taken == 0 || rode == 0 || fresh == 0 {
		t.Errorf("%d taken, %d rode, %d over a fresh session: the property was not tried", taken, rode, fresh)
	}
	t.Logf("%d messages taken, %d rode, %d over a fresh session", taken, rode, fresh)
}

// sessions uses one session after the other.
type sessions struct {
	o           Options
	conn        *Conn
	rode, fresh int
	twice       bool
}

// send sends m over the session there is, else over a new one; once more over a new one where nothing was answered.
func (s *sessions) send(m *Message, promised func() bool) RecipientResult {
	if s.conn != nil && (s.conn.Usable() || s.conn.Rides() == m) {
		if s.conn.Rides() == m {
			s.rode++
		}
		r := s.conn.Send(context.Background(), m)
		if !r.Untouched {
			return r.Recipients[0]
		}
		s.fresh++
		s.twice = s.twice || promised()
	}
	if s.conn != nil {
		s.conn.Quit()
	}
	c, fail := Dial(context.Background(), s.o)
	if s.conn = c; fail != nil {
		return RecipientResult{Failure: fail}
	}
	return c.Send(context.Background(), m).Recipients[0]
}

// session opens a session, sends m, and ends it.
func session(o Options, m *Message) []RecipientResult {
	c, fail := Dial(context.Background(), o)
	defer c.Quit()
	if fail != nil {
		results := make([]RecipientResult, len(m.Recipients))
		for i := range results {
			results[i] = RecipientResult{Failure: fail}
		}
		return results
	}
	return c.Send(context.Background(), m).Recipients
}

func ExampleDial() {
	c, fail := Dial(context.Background(), Options{
		Timeouts: DefaultTimeouts(),
		Dial:     func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
	})
	fmt.Println(fail.Stage, fail.RecordedStatus(), c.Greeted())
	// Output: connect 4.4.1 false
}
