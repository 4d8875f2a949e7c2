// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
)

func TestWriteError(t *testing.T) {
	refused := &rpc.Error{
		Code: codes.InvalidArgument, Reason: "ADDRESS_INVALID", Enhanced: smtpreply.Code(5, 1, 3), Message: "a recipient is no address",
		Fields: []rpc.Field{{Field: "envelope.recipients[0].address", Description: "has no <domain>"}},
	}
	for name, c := range map[string]struct {
		err        error
		text, json string
	}{
		"refusal of the server": {
			refused.GRPCStatus().Err(),
			"postrider: INVALID_ARGUMENT ADDRESS_INVALID 5.1.3: a recipient is no address\n  envelope.recipients[0].address: has no <domain>\n",
			`{"error":{"code":"INVALID_ARGUMENT","reason":"ADDRESS_INVALID","enhanced":"5.1.3","message":"a recipient is no address",` +
				`"fields":[{"field":"envelope.recipients[0].address","description":"has no <domain>"}]}}`,
		},
		"wrapped": {
			fmt.Errorf("submit: %w", refused.GRPCStatus().Err()),
			"postrider: INVALID_ARGUMENT ADDRESS_INVALID 5.1.3: a recipient is no address\n  envelope.recipients[0].address: has no <domain>\n",
			`{"error":{"code":"INVALID_ARGUMENT","reason":"ADDRESS_INVALID","enhanced":"5.1.3","message":"a recipient is no address",` +
				`"fields":[{"field":"envelope.recipients[0].address","description":"has no <domain>"}]}}`,
		},
		"reason that is the code": {
			&rpc.Error{Code: codes.Unavailable, Reason: "UNAVAILABLE", Message: "the service is not available now", RetryAfter: 1500 * time.Millisecond},
			"postrider: UNAVAILABLE: the service is not available now\n  try again in 2s\n",
			`{"error":{"code":"UNAVAILABLE","reason":"UNAVAILABLE","enhanced":"","message":"the service is not available now","fields":[],"retry_after_seconds":1.5}}`,
		},
		"failure on this side": {
			client.Invalid("BARE_NEWLINE", errors.New("m.eml: mixed")),
			"postrider: m.eml: mixed\n",
			`{"error":{"code":"INVALID_ARGUMENT","reason":"BARE_NEWLINE","enhanced":"","message":"m.eml: mixed","fields":[]}}`,
		},
		"any other": {
			errors.New("write: disk full"),
			"postrider: write: disk full\n",
			`{"error":{"code":"UNKNOWN","reason":"UNKNOWN","enhanced":"","message":"write: disk full","fields":[]}}`,
		},
		"cancelled": {
			fmt.Errorf("ask: %w", context.Canceled),
			"postrider: ask: context canceled\n",
			`{"error":{"code":"CANCELLED","reason":"CANCELLED","enhanced":"","message":"the call was cancelled","fields":[]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var text, printed, compact bytes.Buffer
			client.WriteError(&text, c.err, false)
			if text.String() != c.text {
				t.Errorf("text %q\nwant %q", &text, c.text)
			}
			client.WriteError(&printed, c.err, true)
			if err := json.Compact(&compact, printed.Bytes()); err != nil || compact.String() != c.json {
				t.Errorf("JSON %s (%v)\nwant %s", &printed, err, c.json)
			}
		})
	}
}
