// SPDX-License-Identifier: Apache-2.0

package sasl

import (
	"errors"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// maxIterations bounds the work a host may ask of us (RFC 5802, section 5.1, names no limit): about half a second.
const maxIterations = 1_000_000

// scramExchange is SCRAM-SHA-256 without channel binding.
type scramExchange struct {
	talk *scram.ClientConversation
	err  error // the credentials cannot be prepared
	step int
}

func newSCRAM(c Credentials) Exchange {
	client, err := scram.SHA256.NewClient(c.Username, c.Password, "")
	if err != nil {
		return &scramExchange{err: errors.New("sasl: user name or password have characters that SCRAM does not allow")}
	}
	return &scramExchange{talk: client.NewConversation()}
}

// Name is the mechanism.
func (x *scramExchange) Name() string { return "SCRAM-SHA-256" }

// Initial is the client-first-message.
func (x *scramExchange) Initial() []byte {
	if x.err != nil {
		return nil
	}
	first, err := x.talk.Step("")
	if err != nil {
		x.err = errors.New("sasl: SCRAM cannot begin")
		return nil
	}
	return []byte(first)
}

// Next answers the server-first-message with the proof, and the server-final-message with nothing.
func (x *scramExchange) Next(challenge []byte) ([]byte, error) {
	x.step++
	switch {
	case x.err != nil:
		return nil, x.err
	case x.step > 2:
		return nil, errChallenge
	case x.step == 1 && !bearable(string(challenge)):
		return nil, errors.New("sasl: the host asks for too many iterations")
	}
	response, err := x.talk.Step(string(challenge))
	if err != nil {
		return nil, errors.New("sasl: the host's part of SCRAM is not right")
	}
	return []byte(response), nil
}

// Finish demands the signature of the host (RFC 5802, section 3).
func (x *scramExchange) Finish() error {
	if x.err == nil && x.talk.Valid() {
		return nil
	}
	return errors.New("sasl: the host has not proved that it knows the password")
}

// bearable reports a server-first-message with a count of iterations up to the limit.
func bearable(first string) bool {
	for field := range strings.SplitSeq(first, ",") {
		if count, is := strings.CutPrefix(field, "i="); is {
			n, err := strconv.Atoi(count)
			return err == nil && n <= maxIterations
		}
	}
	return true // no count: the library refuses it
}
