// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Names of the streams, apart from the RETRY streams (RetryStream).
const (
	StreamMail    = "MAIL"    // segments of accepted records
	StreamPark    = "PARK"    // segments of suspended destinations and held messages
	StreamOutcome = "OUTCOME" // segments of what attempts settled
	StreamBodies  = "BODIES"  // chunks of contents that are not inline
	StreamJoined  = "JOINED"  // segments of notifications that wait to be told in one list (D-17)
)

// Names of the key-value buckets.
const (
	BucketOwners       = "OWNERS"       // lease.<partition>, lease.<name>, sender.<owner>, dsn.cursor.<partition>, dsn.told
	BucketChanges      = "CHANGES"      // operators' changes: change.<id>, progress.<id>.<partition>
	BucketSuppression  = "SUPPRESSION"  // suppressed recipients
	BucketFingerprints = "FINGERPRINTS" // loop detection
	BucketPolicies     = "POLICIES"     // MTA-STS policies
)

// AnyPartition stands for all partitions where a subject is used to read.
const AnyPartition = -1

// OutcomeKind says whether a notification may be due for what an OUTCOME segment holds.
type OutcomeKind string

// Kinds of outcome.
const (
	Quiet  OutcomeKind = "quiet"  // no notification can follow
	Notice OutcomeKind = "notice" // a notification may be due
)

const retryPrefix = "RETRY_"

// RetryMinutes returns the pauses that have a RETRY stream, in minutes and in rising order.
func RetryMinutes() []int { return []int{0, 1, 5, 10, 20, 40, 80, 160, 240} }

// RetryStream returns the name of the stream whose records wait the given number of minutes.
func RetryStream(minutes int) string { return retryPrefix + strconv.Itoa(minutes) }

// RetryStreamMinutes returns the pause of a RETRY stream in minutes; ok is false when stream is not one.
func RetryStreamMinutes(stream string) (minutes int, ok bool) {
	text, found := strings.CutPrefix(stream, retryPrefix)
	if !found {
		return 0, false
	}
	return decimal(text)
}

// MailSubject returns the subject of accepted records of a partition.
func MailSubject(partition int) string { return "mail." + token(partition) }

// RetrySubject returns the subject of a partition's records that wait the given number of minutes.
func RetrySubject(minutes, partition int) string {
	return "retry." + strconv.Itoa(minutes) + "." + token(partition)
}

// ParkSubject returns the subject of a partition's parked records of one destination (a domain in lower-case
// A-label form, or an address literal). The destination stands there as a hash, so that any of them is a valid
// subject token.
func ParkSubject(partition int, destination string) string {
	sum := sha256.Sum256([]byte(destination))
	return "park." + token(partition) + "." + hex.EncodeToString(sum[:16])
}

// ParkSubjects returns the filter that matches all parked records of a partition.
func ParkSubjects(partition int) string { return "park." + token(partition) + ".*" }

// ParkFence returns the subject of the takeover segments in PARK. The fence of its owner stands around all subjects of
// the partition (ParkSubjects).
func ParkFence(partition int) string { return "park." + token(partition) + ".owner" }

// OutcomeSubject returns the subject of a partition's outcomes of one kind.
func OutcomeSubject(kind OutcomeKind, partition int) string {
	return "outcome." + string(kind) + "." + token(partition)
}

// BodySubject returns the subject of one chunk of a content in the body store.
func BodySubject(id string, chunk int) string { return "body." + id + "." + strconv.Itoa(chunk) }

// FencedSubjects returns the subjects of the takeover segments, where only the owner of a partition appends: both kinds
// of outcome, PARK, and one for each RETRY stream named by its minutes.
func FencedSubjects(partition int, retryMinutes []int) []string {
	subjects := make([]string, 0, 3+len(retryMinutes))
	subjects = append(subjects, OutcomeSubject(Quiet, partition), OutcomeSubject(Notice, partition), ParkFence(partition))
	for _, m := range retryMinutes {
		subjects = append(subjects, RetrySubject(m, partition))
	}
	return subjects
}

// StreamOf returns the stream a subject of this package is stored in; ok is false for any other subject.
func StreamOf(subject string) (stream string, ok bool) {
	parts := strings.Split(subject, ".")
	switch {
	case parts[0] == "mail" && len(parts) == 2:
		return StreamMail, true
	case parts[0] == "retry" && len(parts) == 3:
		minutes, ok := decimal(parts[1])
		return RetryStream(minutes), ok
	case parts[0] == "park" && len(parts) == 3:
		return StreamPark, true
	case parts[0] == "outcome" && len(parts) == 3:
		return StreamOutcome, true
	case parts[0] == "body" && len(parts) == 3:
		return StreamBodies, true
	case parts[0] == "joined" && len(parts) == 2:
		return StreamJoined, true
	}
	return "", false
}

// PartitionOf returns the partition a subject belongs to; ok is false when it names none.
func PartitionOf(subject string) (partition int, ok bool) {
	parts := strings.Split(subject, ".")
	at := map[string]int{"mail": 1, "retry": 2, "park": 1, "outcome": 2}[parts[0]]
	if at == 0 || at >= len(parts) {
		return 0, false
	}
	return decimal(parts[at])
}

// RecordID returns the id of a record: "<message id>.<part>".
func RecordID(m *eventv1.QueuedMail) string {
	return m.GetMessageId() + "." + strconv.FormatUint(uint64(m.GetPart()), 10)
}

// OutcomeID returns the id of an outcome: "<message id>.<part>.<attempt>".
func OutcomeID(messageID string, part, attempt uint32) string {
	return messageID + "." + strconv.FormatUint(uint64(part), 10) + "." + strconv.FormatUint(uint64(attempt), 10)
}

// KeyHash returns the SHA-256 of a tenant and its idempotency key, as it stands in records and outcomes.
func KeyHash(tenant, key string) []byte {
	buf := binary.BigEndian.AppendUint32(nil, uint32(len(tenant)))
	sum := sha256.Sum256(append(append(buf, tenant...), key...))
	return slices.Clone(sum[:])
}

// KeyedMsgID returns the Nats-Msg-Id of a keyed submission from its KeyHash.
func KeyedMsgID(hash []byte) string { return "k." + hex.EncodeToString(hash) }

func token(partition int) string {
	if partition == AnyPartition {
		return "*"
	}
	return strconv.Itoa(partition)
}

// decimal reads a number as this package writes it: no sign, no leading zero.
func decimal(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, false
	}
	return int(n), true
}
