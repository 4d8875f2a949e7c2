// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type explainCommand struct {
	client.Options
	ID string `arg:"" help:"Message id, as printed by send or as it stands in a refusal."`
}

// explainedJSON is what explain --json prints.
type explainedJSON struct {
	MessageID string         `json:"message_id"`
	Decisions []decisionJSON `json:"decisions"`
}

type decisionJSON struct {
	Rule     string            `json:"rule"`
	Decision string            `json:"decision"`
	Subject  string            `json:"subject"`
	Values   map[string]string `json:"values"`
	Limit    string            `json:"limit"`
	Time     *time.Time        `json:"time"`
	Text     string            `json:"text"`
}

func (c *explainCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := gatewayv1.NewMailServiceClient(conn).ExplainMessage(ctx, &gatewayv1.ExplainMessageRequest{MessageId: c.ID})
		if err != nil {
			return err
		}
		if c.JSON {
			client.WriteJSON(streams.Out, explainedAsJSON(c.ID, answer.GetDecisions()))
			return nil
		}
		return tree.Write(streams.Out, explainedTree(c.ID, answer.GetDecisions()))
	})
}

func explainedAsJSON(id string, decisions []*gatewayv1.Explanation) explainedJSON {
	out := explainedJSON{MessageID: id, Decisions: []decisionJSON{}}
	for _, d := range decisions {
		one := decisionJSON{
			Rule: d.GetRule(), Decision: d.GetDecision(), Subject: d.GetSubject(), Values: d.GetValues(), Limit: d.GetLimit(), Text: d.GetText(),
		}
		if one.Values == nil {
			one.Values = map[string]string{}
		}
		if d.GetTime() != nil {
			at := d.GetTime().AsTime()
			one.Time = &at
		}
		out.Decisions = append(out.Decisions, one)
	}
	return out
}

// explainedTree draws one branch for the message and one for each recipient, and below it what was decided, in order.
func explainedTree(id string, decisions []*gatewayv1.Explanation) *tree.Node {
	root := &tree.Node{Text: "message " + id}
	branch, subject := root, ""
	for i, d := range decisions {
		if i == 0 || d.GetSubject() != subject {
			subject = d.GetSubject()
			branch = root.Add("%s", subject)
		}
		line := make([]string, 0, 4)
		if d.GetTime() != nil {
			line = append(line, d.GetTime().AsTime().Local().Format("15:04:05.000"))
		}
		if d.GetRule() != "" {
			line = append(line, d.GetRule())
		}
		line = append(line, d.GetDecision(), d.GetText())
		node := branch.Add("%s", strings.Join(line, "  "))
		if d.GetLimit() != "" {
			node.Add("%s, limit %s", valuesLine(d.GetValues()), d.GetLimit())
		}
	}
	return root
}

func valuesLine(values map[string]string) string {
	parts := make([]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+values[name])
	}
	return strings.Join(parts, ", ")
}
