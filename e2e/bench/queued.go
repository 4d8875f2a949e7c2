// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const waitingDomain = "wait.bench.test"

// fillQueue suspends a destination, has so many messages wait for it, and returns once they are set aside.
func fillQueue(address string, messages int) error {
	conn, err := rpc.Dial(address, rpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deliverWithin)
	defer cancel()
	queue := gatewayv1.NewQueueServiceClient(conn)
	if _, err := queue.SuspendDestination(ctx, &gatewayv1.SuspendDestinationRequest{Domain: waitingDomain, Reason: "benchmark"}); err != nil {
		return fmt.Errorf("suspend: %w", err)
	}
	fill := &submitter{
		scenario: scenario{messages: messages, size: 2 << 10, recipient: "to@" + waitingDomain}, target: address,
	}
	if err := fill.stream(); err != nil {
		return fmt.Errorf("fill the queue: %w", err)
	}
	if r := fill.result(); r.Failed > 0 {
		return fmt.Errorf("fill the queue: %d not accepted: %s", r.Failed, r.Failure)
	}
	for ctx.Err() == nil {
		list, err := queue.ListDestinations(ctx, &gatewayv1.ListDestinationsRequest{})
		if err != nil {
			return err
		}
		for _, d := range list.Destinations {
			if d.Domain == waitingDomain && d.Waiting == uint64(messages) {
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the status view does not show %d messages: %w", messages, ctx.Err())
}
