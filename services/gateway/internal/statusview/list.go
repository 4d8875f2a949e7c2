// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	defaultPage = 50
	maxPage     = 1000
	// filterBytes is how much of a filter's digest a page token carries.
	filterBytes = 8
)

// List returns messages that fit a filter, the newest first, without their attempts (AIP-158). The error is an
// *rpc.Error, or that of ctx.
func (v *View) List(ctx context.Context, in *gatewayv1.ListMessagesRequest) (*gatewayv1.ListMessagesResponse, error) {
	q, err := newListQuery(in, v.changes())
	if err != nil {
		return nil, err
	}
	if err := v.catchUp(ctx); err != nil && !errors.Is(err, errBehind) {
		return nil, v.failed(ctx, err) // a view that is behind says so in the answer
	}
	answer, err := v.list(ctx, q)
	if err != nil {
		return nil, v.failed(ctx, err)
	}
	return answer, nil
}

// listQuery is a checked request.
type listQuery struct {
	where  []string
	args   []any
	size   int
	filter []byte
	// What is asked of a part, for when operators' changes show it in another state than the file has.
	states      int64
	destination string
}

func (q *listQuery) and(condition string, args ...any) {
	q.where, q.args = append(q.where, condition), append(q.args, args...)
}

func invalidList(field, description string) *rpc.Error {
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: "INVALID_FILTER", Message: "the filter is not valid",
		Fields: []rpc.Field{{Field: field, Description: description}},
	}
}

func newListQuery(in *gatewayv1.ListMessagesRequest, rules []changes.Entry) (*listQuery, error) {
	q := &listQuery{size: int(in.GetPageSize()), filter: filterDigest(in)}
	switch {
	case q.size < 0:
		return nil, invalidList("page_size", "must not be negative")
	case q.size == 0:
		q.size = defaultPage
	}
	q.size = min(q.size, maxPage)
	if err := q.after(in.GetPageToken()); err != nil {
		return nil, err
	}
	for column, text := range map[string]string{"sender": in.GetSender(), "tag": in.GetTag(), "tenant": in.GetTenant()} {
		if text != "" {
			q.and(column+" = ?", text)
		}
	}
	if at := in.GetAcceptedAfter(); at != nil {
		q.and("accepted_at >= ?", at.AsTime().UnixNano())
	}
	if at := in.GetAcceptedBefore(); at != nil {
		q.and("accepted_at < ?", at.AsTime().UnixNano())
	}
	return q, q.parts(in, rules)
}

// parts adds what is asked of recipients: one part must fit both.
func (q *listQuery) parts(in *gatewayv1.ListMessagesRequest, rules []changes.Entry) error {
	condition, args := "", []any{}
	bits := int64(0)
	for _, s := range in.GetStates() {
		if _, known := eventv1.RecipientState_name[int32(s)]; !known || s == eventv1.RecipientState_RECIPIENT_STATE_UNSPECIFIED {
			return invalidList("states", "must be known states")
		}
		bits |= 1 << s
	}
	if q.states = bits; bits != 0 {
		other, more := shownOtherwise(bits, rules)
		condition, args = " AND (states & ? <> 0"+other+")", append(append(args, bits), more...)
	}
	if domain := in.GetDestination(); domain != "" {
		destination := strings.ToLower(domain)
		if literal, ok := mailaddr.ParseLiteral(domain); ok {
			destination = mailaddr.Literal(literal)
		} else if ascii, err := mailaddr.ToASCII(domain); err == nil {
			destination = ascii
		}
		q.destination = destination
		condition, args = condition+" AND destination = ?", append(args, destination)
	}
	if condition != "" {
		q.and("EXISTS (SELECT 1 FROM part WHERE message_id = message.id"+condition+")", args...)
	}
	return nil
}

// filterDigest tells filters apart, so that a token is only used with the filter it was made for.
func filterDigest(in *gatewayv1.ListMessagesRequest) []byte {
	filter := proto.CloneOf(in)
	filter.PageSize, filter.PageToken = 0, ""
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(filter)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(raw)
	return sum[:filterBytes]
}

// after goes on behind the page a token ends.
func (q *listQuery) after(token string) error {
	if token == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= filterBytes || string(raw[:filterBytes]) != string(q.filter) {
		return invalidList("page_token", "must be the token of the last answer to the same filter")
	}
	q.and("id < ?", string(raw[filterBytes:]))
	return nil
}

func (q *listQuery) token(lastID string) string {
	return base64.RawURLEncoding.EncodeToString(append(q.filter, lastID...))
}

func (v *View) list(ctx context.Context, q *listQuery) (*gatewayv1.ListMessagesResponse, error) {
	tx, err := v.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	query := "SELECT " + messageColumns + " FROM message"
	if len(q.where) > 0 {
		query += " WHERE " + strings.Join(q.where, " AND ")
	}
	messages, err := scanMessages(ctx, tx, query+" ORDER BY id DESC LIMIT ?", append(q.args, q.size+1)...)
	if err != nil {
		return nil, err
	}
	answer := new(gatewayv1.ListMessagesResponse)
	if len(messages) > q.size {
		messages = messages[:q.size]
		answer.NextPageToken = q.token(messages[q.size-1].id)
	}
	for _, m := range messages {
		parts, err := loadParts(ctx, tx, m.id)
		if err != nil {
			return nil, err
		}
		if !v.stillFits(q, m, parts) {
			continue
		}
		shown := v.present(m, parts)
		for _, r := range shown.GetRecipients() {
			r.Attempts = nil
		}
		shown.ViewLag = v.lagProto()
		answer.Messages = append(answer.Messages, shown)
	}
	return answer, nil
}

func scanMessages(ctx context.Context, q querier, query string, args ...any) ([]*message, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var messages []*message
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, rows.Err()
}
