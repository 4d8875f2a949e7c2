// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// What happens to a message stands in its id, so that the sink needs to know nothing else.
const (
	kindPlain     = "plain"
	kindKeyed     = "keyed"     // submitted again under its key until it is accepted
	kindSplit     = "split"     // three recipients, one of which gets 452 at first
	kindDeferred  = "deferred"  // 451 to the first dot
	kindAmbiguous = "ambiguous" // delivered, and the first dot is not answered
	kindRefused   = "refused"   // 550: its sender gets a notification
)

const (
	senderDomain = "sender.example"
	callers      = 48
	callTimeout  = 10 * time.Second
	afterFailure = 50 * time.Millisecond
)

// kindOf gives the n-th message its kind.
func kindOf(n int) string {
	switch {
	case n%50 == 7:
		return kindRefused
	case n%50 == 31:
		return kindAmbiguous
	case n%20 == 3:
		return kindSplit
	case n%20 == 13:
		return kindDeferred
	case n%5 == 4:
		return kindKeyed
	default:
		return kindPlain
	}
}

// mailOf is the n-th message of a client.
type mailOf struct {
	kind, id   string // id is the Message-ID without angle brackets
	recipients []string
}

func makeMail(client string, n int) mailOf {
	kind := kindOf(n)
	domain := fmt.Sprintf("d%d.example", n%domains)
	m := mailOf{kind: kind, id: fmt.Sprintf("%s.%s.%d@%s", kind, client, n, senderDomain), recipients: []string{"a@" + domain}}
	if kind == kindSplit {
		m.recipients = append(m.recipients, "b@"+domain, "c@"+domain)
	}
	return m
}

// sender is an address of its own for each message, so that a notification says by its recipient what it is about.
func (m mailOf) sender() string { return "s-" + m.id }

func (m mailOf) request() *gatewayv1.SubmitRequest {
	e := &gatewayv1.Envelope{Sender: m.sender()}
	for _, address := range m.recipients {
		e.Recipients = append(e.Recipients, &gatewayv1.Recipient{Address: address})
	}
	if m.kind == kindKeyed {
		e.IdempotencyKey = m.id
	}
	text := strings.Repeat("A line of sixty-odd octets, so that the message has some weight.\r\n", 10)
	return &gatewayv1.SubmitRequest{
		Envelope: e, Content: []byte("From: <" + m.sender() + ">\r\nMessage-ID: <" + m.id + ">\r\nSubject: chaos\r\n\r\n" + text),
	}
}

// runClient submits at a rate until SIGTERM, and then ends what it has begun. Each OK is a line "milliseconds id recipient
// …" in the log, written before the next call. It returns the exit status.
func runClient() int {
	rate, err := strconv.Atoi(os.Getenv("CHAOS_RATE"))
	if err != nil || rate < 1 {
		return complain("client", fmt.Errorf("CHAOS_RATE %q", os.Getenv("CHAOS_RATE")))
	}
	accepted, err := os.OpenFile(os.Getenv("CHAOS_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return complain("client", err)
	}
	defer accepted.Close()
	conn, err := rpc.Dial(os.Getenv("CHAOS_GATEWAY"), rpc.ClientOptions{})
	if err != nil {
		return complain("client", err)
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	gateway, numbers := gatewayv1.NewMailServiceClient(conn), make(chan int, rate)
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for n := range numbers {
				m := makeMail(os.Getenv("CHAOS_CLIENT"), n)
				if !submit(ctx, gateway, m) {
					continue
				}
				at := strconv.FormatInt(time.Now().UnixMilli(), 10)
				if _, err := accepted.WriteString(at + " " + m.id + " " + strings.Join(m.recipients, " ") + "\n"); err != nil {
					os.Exit(complain("client", err))
				}
			}
		})
	}
	offer(ctx, rate, numbers)
	close(numbers)
	running.Wait()
	return 0
}

// offer counts messages at the rate; what nobody takes within a second is not made up for.
func offer(ctx context.Context, rate int, numbers chan<- int) {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	n, due := 0, 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due += float64(rate) * every.Seconds(); due >= 1; due-- {
			select {
			case numbers <- n:
				n++
			default:
			}
		}
	}
}

// submit reports whether the message was accepted. One without a key is submitted once; whether it was taken, when there
// was no answer, nobody knows.
func submit(ctx context.Context, gateway gatewayv1.MailServiceClient, m mailOf) bool {
	for {
		call, cancel := context.WithTimeout(context.Background(), callTimeout)
		_, err := gateway.Submit(call, m.request())
		cancel()
		if err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(afterFailure):
		}
		if m.kind != kindKeyed {
			return false
		}
	}
}

func complain(role string, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
	return 1
}
