// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	warmUp      = 20
	idle        = 5 * time.Millisecond // between two messages
	arriveAfter = time.Minute
)

// oneByOne submits one message after the other and measures from the begin of the call, with the connection when that is
// fresh, to the end of the content at the host, which this process plays itself so that one clock serves both.
func (s *submitter) oneByOne(system string, kept bool) error {
	listener, err := net.Listen("tcp", s.sink)
	if err != nil {
		return err
	}
	h := &host{arrived: map[string]chan time.Time{}}
	go h.serve(listener)
	submit, end := s.caller(system, kept)
	defer end()
	for n := -warmUp; n < s.messages; n++ {
		content := s.content(n)
		arrived := h.expect(strconv.Itoa(n))
		begin := time.Now()
		if err := submit(content); err != nil {
			s.count(err)
			return nil
		}
		select {
		case at := <-arrived:
			if n >= 0 {
				s.count(nil)
				s.delays = append(s.delays, int64(at.Sub(begin)))
			}
		case <-time.After(arriveAfter):
			return fmt.Errorf("message %d did not arrive within %s", n, arriveAfter)
		}
		time.Sleep(idle)
	}
	return nil
}

// caller returns a function that submits one message, and one that ends.
func (s *submitter) caller(system string, kept bool) (submit func([]byte) error, end func()) {
	if system == "postfix" {
		return s.bySMTP(kept)
	}
	return s.byGRPC(kept)
}

func (s *submitter) byGRPC(kept bool) (func([]byte) error, func()) {
	var conn *grpc.ClientConn
	end := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	return func(content []byte) error {
		if conn == nil {
			var err error
			if conn, err = rpc.Dial(s.target, rpc.ClientOptions{}); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), callWithin)
		defer cancel()
		_, err := gatewayv1.NewMailServiceClient(conn).Submit(ctx, &gatewayv1.SubmitRequest{Envelope: s.envelope(0), Content: content})
		if !kept {
			end()
		}
		return err
	}, end
}

func (s *submitter) bySMTP(kept bool) (func([]byte) error, func()) {
	var open *session
	end := func() {
		if open != nil {
			open.quit()
			open = nil
		}
	}
	return func(content []byte) error {
		if open == nil {
			var err error
			if open, err = openSession(s.target); err != nil {
				return err
			}
		}
		err := open.send(envelopeSender, s.to(0), content)
		if !kept {
			end()
		}
		return err
	}, end
}

// host takes mail and says when the content of each was there.
type host struct {
	mu      sync.Mutex
	arrived map[string]chan time.Time
}

func (h *host) expect(id string) <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arrived[id] = make(chan time.Time, 1)
	return h.arrived[id]
}

func (h *host) tell(id string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.arrived[id]; ok {
		c <- at
		delete(h.arrived, id)
	}
}

func (h *host) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = h.converse(conn) // whoever is at fault, the message does not arrive
		}()
	}
}

func (h *host) converse(conn net.Conn) error {
	reader := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, "220 sink.bench.test ESMTP\r\n"); err != nil {
		return err
	}
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return err
		}
		reply := "250 2.0.0 ok\r\n"
		switch verb := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(verb, "EHLO"):
			reply = "250-sink.bench.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
		case verb == "DATA":
			if err := h.content(conn, reader); err != nil {
				return err
			}
		case verb == "QUIT":
			_, err := io.WriteString(conn, "221 2.0.0 bye\r\n")
			return err
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return err
		}
	}
}

func (h *host) content(conn net.Conn, reader *bufio.Reader) error {
	if _, err := io.WriteString(conn, "354 go on\r\n"); err != nil {
		return err
	}
	id := ""
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		if value, ok := strings.CutPrefix(line, "X-Bench: "); ok {
			id = strings.TrimSpace(value)
		}
	}
	if id == "" {
		return errors.New("a message that is not the benchmark's")
	}
	h.tell(id, time.Now())
	return nil
}

// quantile returns milliseconds.
func quantile(delays []int64, q float64) float64 {
	if len(delays) == 0 {
		return 0
	}
	slices.Sort(delays)
	return round(float64(delays[int(q*float64(len(delays)-1))])/float64(time.Millisecond), 3)
}
