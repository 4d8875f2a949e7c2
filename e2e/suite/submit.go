// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"testing"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	unaryLimit = 4 << 20
	piece      = 1 << 20
)

// Submit hands a message in, by Submit or SubmitStream as its size wants, and returns its id.
func Submit(ctx context.Context, t testing.TB, mail gatewayv1.MailServiceClient, content []byte, from string, to ...string) string {
	t.Helper()
	envelope := &gatewayv1.Envelope{Sender: from}
	for _, address := range to {
		envelope.Recipients = append(envelope.Recipients, &gatewayv1.Recipient{Address: address})
	}
	if len(content) > unaryLimit {
		return submitStream(ctx, t, mail, envelope, content)
	}
	answer, err := mail.Submit(ctx, &gatewayv1.SubmitRequest{Envelope: envelope, Content: content})
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return answer.GetAccepted().GetMessageId()
}

func submitStream(ctx context.Context, t testing.TB, mail gatewayv1.MailServiceClient, envelope *gatewayv1.Envelope, content []byte) string {
	t.Helper()
	stream, err := mail.SubmitStream(ctx)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	err = stream.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: envelope}})
	for err == nil && len(content) > 0 {
		n := min(piece, len(content))
		err = stream.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Content{Content: content[:n]}})
		content = content[n:]
	}
	if err != nil {
		t.Fatalf("submit: send content: %v", err)
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return answer.GetAccepted().GetMessageId()
}
