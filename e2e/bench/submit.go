// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	envelopeSender = "from@sender.bench.test"
	callWithin     = time.Minute
	sayEvery       = 20 * time.Millisecond
)

// runSubmit is the process that submits.
func runSubmit(args []string) error {
	flags := flag.NewFlagSet("submit", flag.ContinueOnError)
	name, system := flags.String("scenario", "", "scenario"), flags.String("system", "", "system")
	way, target := flags.String("submit", "", "way to submit"), flags.String("to", "", "address")
	progress := flags.String("progress", "", "file that the count of accepted messages is written to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	found, err := scenariosNamed(*name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(*progress, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	s := &submitter{scenario: found[0], target: *target}
	stop := s.say(file)
	defer stop()
	switch {
	case s.name == "latency":
		err = s.oneByOne(*system, *way == "kept")
	case *way == "many":
		err = s.stream()
	case *way == "smtp":
		err = s.smtp()
	default:
		err = s.unary(*way == "keyed")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s.result())
}

// submitter submits the messages of one scenario.
type submitter struct {
	scenario
	target           string
	next, ok, failed atomic.Int64
	failure          atomic.Pointer[string]
	delays           []int64
}

func (s *submitter) result() submitted {
	r := submitted{Accepted: int(s.ok.Load()), Failed: int(s.failed.Load()), Delays: s.delays}
	if text := s.failure.Load(); text != nil {
		r.Failure = *text
	}
	return r
}

func (s *submitter) count(err error) {
	if err == nil {
		s.ok.Add(1)
		return
	}
	s.failed.Add(1)
	text := err.Error()
	s.failure.CompareAndSwap(nil, &text)
}

// say writes the count now and then, until the function returned is called.
func (s *submitter) say(w io.Writer) func() {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(sayEvery):
				fmt.Fprintf(w, "accepted=%d\r", s.ok.Load())
			}
		}
	}()
	return func() { close(done); <-ended }
}

// each runs call for each message, by as many callers at once as all systems are given.
func (s *submitter) each(call func(caller, n int) error) {
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			for {
				n := int(s.next.Add(1)) - 1
				if n >= s.messages {
					return
				}
				s.count(call(caller, n))
			}
		})
	}
	running.Wait()
}

func (s *submitter) unary(keyed bool) error {
	conn, err := rpc.Dial(s.target, rpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer conn.Close()
	mail := gatewayv1.NewMailServiceClient(conn)
	s.each(func(_, n int) error {
		ctx, cancel := context.WithTimeout(context.Background(), callWithin)
		defer cancel()
		envelope := s.envelope(n)
		if keyed {
			envelope.IdempotencyKey = "bench-" + strconv.Itoa(n)
		}
		_, err := mail.Submit(ctx, &gatewayv1.SubmitRequest{Envelope: envelope, Content: s.content(n)})
		return err
	})
	return nil
}

// stream submits all by one SubmitMany call.
func (s *submitter) stream() error {
	conn, err := rpc.Dial(s.target, rpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deliverWithin)
	defer cancel()
	stream, err := gatewayv1.NewMailServiceClient(conn).SubmitMany(ctx)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() { received <- s.answers(stream) }()
	for n := range s.messages {
		request := &gatewayv1.SubmitManyRequest{Correlation: uint64(n), Envelope: s.envelope(n), Content: s.content(n)}
		if err := stream.Send(request); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return <-received
}

func (s *submitter) answers(stream gatewayv1.MailService_SubmitManyClient) error {
	for range s.messages {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if refused := answer.GetRefused(); refused != nil {
			err = fmt.Errorf("%s: %s", refused.Reason, refused.Message)
		}
		s.count(err)
	}
	return nil
}

func (s *submitter) envelope(n int) *gatewayv1.Envelope {
	return &gatewayv1.Envelope{Sender: envelopeSender, Recipients: []*gatewayv1.Recipient{{Address: s.to(n)}}}
}

// content is the n-th message, of the scenario's size.
func (s *submitter) content(n int) []byte {
	var b bytes.Buffer
	b.Grow(s.size + 256)
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: <%d@sender.bench.test>\r\nX-Bench: %d\r\nSubject: bench\r\n\r\n",
		envelopeSender, s.to(n), time.Now().Format(time.RFC1123Z), n, n)
	line := strings.Repeat("X", 78) + "\r\n"
	for b.Len() < s.size {
		b.WriteString(line[max(0, len(line)-max(3, s.size-b.Len())):])
	}
	return b.Bytes()
}
