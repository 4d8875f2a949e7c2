// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Service implements QueueService.
type Service struct {
	gatewayv1.UnimplementedQueueServiceServer
	desk func() (*Desk, error)
}

// NewService returns the service. desk gives an *rpc.Error while the queue has not been found yet.
func NewService(desk func() (*Desk, error)) *Service { return &Service{desk: desk} }

// change lets the desk take a change.
func change[In any](ctx context.Context, s *Service, in In, take func(*Desk, context.Context, In) (string, error)) (string, error) {
	d, err := s.desk()
	if err != nil {
		return "", err
	}
	return take(d, ctx, in)
}

// ListDestinations returns destinations page by page (gateway.v1).
func (s *Service) ListDestinations(ctx context.Context, in *gatewayv1.ListDestinationsRequest) (*gatewayv1.ListDestinationsResponse, error) {
	d, err := s.desk()
	if err != nil {
		return nil, err
	}
	return d.Destinations(ctx, in)
}

// SuspendDestination keeps the mail of a destination (gateway.v1).
func (s *Service) SuspendDestination(ctx context.Context, in *gatewayv1.SuspendDestinationRequest) (*gatewayv1.SuspendDestinationResponse, error) {
	id, err := change(ctx, s, in, (*Desk).Suspend)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.SuspendDestinationResponse{ChangeId: id}, nil
}

// ResumeDestination takes a suspension back (gateway.v1).
func (s *Service) ResumeDestination(ctx context.Context, in *gatewayv1.ResumeDestinationRequest) (*gatewayv1.ResumeDestinationResponse, error) {
	id, err := change(ctx, s, in, (*Desk).Resume)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ResumeDestinationResponse{ChangeId: id}, nil
}

// RetryNow attempts waiting mail at once (gateway.v1).
func (s *Service) RetryNow(ctx context.Context, in *gatewayv1.RetryNowRequest) (*gatewayv1.RetryNowResponse, error) {
	id, err := change(ctx, s, in, (*Desk).RetryNow)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.RetryNowResponse{ChangeId: id}, nil
}

// HoldMessages sets messages aside (gateway.v1).
func (s *Service) HoldMessages(ctx context.Context, in *gatewayv1.HoldMessagesRequest) (*gatewayv1.HoldMessagesResponse, error) {
	id, err := change(ctx, s, in, (*Desk).Hold)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.HoldMessagesResponse{ChangeId: id}, nil
}

// ReleaseMessages takes a hold back (gateway.v1).
func (s *Service) ReleaseMessages(ctx context.Context, in *gatewayv1.ReleaseMessagesRequest) (*gatewayv1.ReleaseMessagesResponse, error) {
	id, err := change(ctx, s, in, (*Desk).Release)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ReleaseMessagesResponse{ChangeId: id}, nil
}
