// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// getTimeout bounds one request for a single message when the caller's context has no earlier deadline.
const getTimeout = 3 * time.Second

// storedMsg is one message read from a stream's leader.
type storedMsg struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	RawHdr   []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`

	Header nats.Header `json:"-"`
}

// getRequest selects a message: by Seq; by LastFor; or the first of NextFor at or after Seq. Subjects may have
// wildcards.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// getFunc is leaderGet or directGet.
type getFunc func(ctx context.Context, js jetstream.JetStream, stream string, req getRequest) (*storedMsg, error)

// leaderGet reads one message from the stream's leader, never from a follower, so that a message whose publish
// was answered is always seen. It returns jetstream.ErrMsgNotFound when there is none.
func leaderGet(ctx context.Context, js jetstream.JetStream, stream string, req getRequest) (*storedMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	answer, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *storedMsg          `json:"message"`
	}
	switch err := json.Unmarshal(answer.Data, &resp); {
	case err != nil:
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case resp.Error != nil:
		return nil, fmt.Errorf("read from stream %s: %w", stream, resp.Error)
	case resp.Message == nil:
		return nil, fmt.Errorf("read from stream %s: answer without a message", stream)
	}
	if m := resp.Message; len(m.RawHdr) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(m.RawHdr); err != nil {
			return nil, fmt.Errorf("headers of message %d in stream %s: %w", m.Sequence, stream, err)
		}
	}
	return resp.Message, nil
}

// lastMessage returns the last message on a subject, as the leader knows it; its sequence is 0 when there is none.
// A subject emptied by a purge has none: that is also what the server compares with
// Nats-Expected-Last-Subject-Sequence.
func lastMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (*storedMsg, error) {
	m, err := leaderGet(ctx, js, stream, getRequest{LastFor: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return &storedMsg{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("last message of %s: %w", subject, err)
	}
	return m, nil
}

func lastOfSubject(ctx context.Context, js jetstream.JetStream, stream, subject string) (uint64, error) {
	m, err := lastMessage(ctx, js, stream, subject)
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

// directGet reads a message as leaderGet does, but from whichever server of the stream answers first, and without
// the detour of JSON. A follower may not have the newest messages yet, so only what it has counts; that there is
// none is for the leader to say, and with LastFor it may be a message that is not the last any more.
func directGet(ctx context.Context, js jetstream.JetStream, stream string, req getRequest) (*storedMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	answer, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"DIRECT.GET."+stream, body)
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	if err != nil || answer.Header.Get("Status") != "" {
		return leaderGet(ctx, js, stream, req)
	}
	m := &storedMsg{Subject: answer.Header.Get(jetstream.SubjectHeader), Data: answer.Data, Header: answer.Header}
	if m.Sequence, err = strconv.ParseUint(answer.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return nil, fmt.Errorf("read from stream %s: sequence: %w", stream, err)
	}
	if m.Time, err = time.Parse(time.RFC3339Nano, answer.Header.Get(jetstream.TimeStampHeaer)); err != nil {
		return nil, fmt.Errorf("read from stream %s: time: %w", stream, err)
	}
	for _, name := range []string{
		jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer,
	} {
		m.Header.Del(name)
	}
	return m, nil
}

func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}

// LastMessage returns the sequence of the last message that is in a stream, 0 when there is none. A stream may end behind
// it, when messages were deleted one by one.
func LastMessage(ctx context.Context, js jetstream.JetStream, stream string) (uint64, error) {
	return lastOfSubject(ctx, js, stream, ">")
}
