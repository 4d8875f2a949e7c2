// SPDX-License-Identifier: Apache-2.0

// Package submit hands one message in, by the call that fits its size. It retries nothing: the caller knows whether
// it has an idempotency key.
package submit

import (
	"context"
	"errors"
	"fmt"
	"io"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	// unaryLimit is the most content Submit takes; larger messages go by SubmitStream.
	unaryLimit = 4 << 20
	// pieceSize is how much content one message of SubmitStream carries.
	pieceSize = 256 << 10
)

// Message submits content, CRLF line endings, and returns the receipt: the message is durable then.
func Message(ctx context.Context, mail gatewayv1.MailServiceClient, envelope *gatewayv1.Envelope, content []byte) (*gatewayv1.Accepted, error) {
	if len(content) <= unaryLimit {
		answer, err := mail.Submit(ctx, &gatewayv1.SubmitRequest{Envelope: envelope, Content: content})
		return answer.GetAccepted(), err
	}
	return stream(ctx, mail, envelope, content)
}

func stream(ctx context.Context, mail gatewayv1.MailServiceClient, envelope *gatewayv1.Envelope, content []byte) (*gatewayv1.Accepted, error) {
	call, err := mail.SubmitStream(ctx)
	if err != nil {
		return nil, err
	}
	first := &gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: envelope}}
	err = call.Send(first)
	for err == nil && len(content) > 0 {
		n := min(pieceSize, len(content))
		err = call.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Content{Content: content[:n]}})
		content = content[n:]
	}
	// io.EOF means that the server has answered already; its answer says why.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("send content: %w", err)
	}
	answer, err := call.CloseAndRecv()
	return answer.GetAccepted(), err
}
