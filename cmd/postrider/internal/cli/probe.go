// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

type probeCommand struct {
	client.Options
	Domain   string `arg:"" help:"Domain or address literal."`
	MailFrom string `name:"mail-from" help:"Envelope sender for MAIL. Without it the null reverse-path."`
	RcptTo   string `name:"rcpt-to" help:"Recipient for RCPT. Without it the probe ends after TLS."`
}

// probeStepJSON is one line of probe --json.
type probeStepJSON struct {
	ElapsedMS int64           `json:"elapsed_ms"`
	Stage     string          `json:"stage"`
	Host      string          `json:"host"`
	Address   string          `json:"address"`
	Text      string          `json:"text"`
	Reply     *probeReplyJSON `json:"reply"`
	Failure   *routeFailure   `json:"failure"`
	TLS       *probeTLSJSON   `json:"tls"`
}

type probeReplyJSON struct {
	Code     uint32   `json:"code"`
	Enhanced string   `json:"enhanced"`
	Lines    []string `json:"lines"`
}

type probeTLSJSON struct {
	Policy      string `json:"policy"`
	Version     string `json:"version"`
	CipherSuite string `json:"cipher_suite"`
	Verified    bool   `json:"verified"`
	Finding     string `json:"finding"`
}

// errNoWay makes the exit status 1 after the probe was printed.
var errNoWay = silentError{"no address can be used"}

func (c *probeCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		steps, err := senderv1.NewSenderServiceClient(conn).Probe(ctx, &senderv1.ProbeRequest{
			Domain: c.Domain, MailFrom: c.MailFrom, RcptTo: c.RcptTo,
		})
		if err != nil {
			return senderError(err)
		}
		p := probePrinter{out: streams.Out, json: c.JSON}
		for {
			step, err := steps.Recv()
			switch {
			case errors.Is(err, io.EOF) && p.usable:
				return nil
			case errors.Is(err, io.EOF):
				return errNoWay
			case err != nil:
				return senderError(err)
			}
			if err := p.print(step); err != nil {
				return err
			}
		}
	})
}

// senderError says where to turn when the server asked is one of four processes, and not the sender.
func senderError(err error) error {
	if rpc.FromError(err).Code != codes.Unimplemented {
		return err
	}
	return &rpc.Error{
		Code: codes.Unimplemented, Reason: "NOT_THE_SENDER", Err: err,
		Message: "The server asked is not a sender. Where the services are processes of their own, give --server the address of sender.listen.",
	}
}

// probePrinter prints steps as they come.
type probePrinter struct {
	out    io.Writer
	json   bool
	at     string // host and address printed last
	usable bool   // an address ended well
}

func (p *probePrinter) print(s *senderv1.ProbeResponse) error {
	p.usable = p.usable || s.GetStage() == eventv1.Stage_STAGE_QUIT && s.GetFailure() == nil
	if p.json {
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(probeStepAsJSON(s))
	}
	at := s.GetHost()
	if s.GetAddress() != "" {
		at += " [" + s.GetAddress() + "]"
	}
	if at != p.at && at != "" {
		fmt.Fprintf(p.out, "%s\n", at)
	}
	p.at = at
	mark := " "
	if s.GetFailure() != nil {
		mark = "✗"
	}
	_, err := fmt.Fprintf(p.out, "  %8.3fs  %s %-8s  %s\n", s.GetElapsed().AsDuration().Seconds(), mark, timeline.Stage(s.GetStage()), s.GetText())
	if line := timeline.FailureLine(s.GetFailure()); line != "" && s.GetReply() == nil {
		_, err = fmt.Fprintf(p.out, "%25s%s\n", "", line)
	}
	p.printReply(s.GetReply())
	return err
}

// printReply prints the host's own words, one line each.
func (p *probePrinter) printReply(r *eventv1.Reply) {
	if r == nil {
		return
	}
	head := fmt.Sprint(r.GetCode())
	if e := timeline.Enhanced(r.GetEnhanced()); e != "" {
		head += " " + e
	}
	lines := r.GetLines()
	if len(lines) == 0 {
		lines = []string{""}
	}
	for _, line := range lines {
		fmt.Fprintf(p.out, "%25s%s %s\n", "", head, line)
	}
}

func probeStepAsJSON(s *senderv1.ProbeResponse) probeStepJSON {
	out := probeStepJSON{
		ElapsedMS: s.GetElapsed().AsDuration().Milliseconds(), Stage: timeline.Stage(s.GetStage()), Host: s.GetHost(),
		Address: s.GetAddress(), Text: s.GetText(), Failure: failureAsJSON(s),
	}
	if r := s.GetReply(); r != nil {
		out.Reply = &probeReplyJSON{Code: r.GetCode(), Enhanced: timeline.Enhanced(r.GetEnhanced()), Lines: append([]string{}, r.GetLines()...)}
	}
	if t := s.GetTls(); t != nil {
		out.TLS = &probeTLSJSON{
			Policy: t.GetPolicy(), Version: t.GetVersion(), CipherSuite: t.GetCipherSuite(), Verified: t.GetVerified(), Finding: t.GetFinding(),
		}
	}
	return out
}
