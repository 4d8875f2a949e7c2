// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"context"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Canceller takes messages back (internal/admin).
type Canceller interface {
	Cancel(ctx context.Context, in *gatewayv1.CancelMessageRequest) (*gatewayv1.Message, error)
}

// CancelMessage takes a message back (gateway.v1). A caller that is no operator takes its own messages back only.
func (s *Service) CancelMessage(ctx context.Context, in *gatewayv1.CancelMessageRequest) (*gatewayv1.CancelMessageResponse, error) {
	p, err := s.parts()
	if err != nil {
		return nil, err
	}
	m, err := p.Canceller.Cancel(ctx, in)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.CancelMessageResponse{Message: m}, nil
}
