// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DedupeWindow is how long the server knows a Nats-Msg-Id. What keyed submissions need of it is kept alive over
// a restart because the purge leaves as much standing (PurgeStand).
const DedupeWindow = 2 * time.Minute

const (
	metaPartitions = "postrider.partitions"
	metaFormat     = "postrider.format"

	// mailShare is the part of Layout.MaxStore, in percent, that MAIL alone may take: a limit of last resort
	// under those of the gateway, so that settling always finds room.
	mailShare = 75

	// clusterReplicas is how many copies a cluster keeps unless the layout says otherwise.
	clusterReplicas = 3

	// MaxFingerprints is the most keys BucketFingerprints holds (L-06).
	MaxFingerprints = 1_000_000

	// limitMarkerTTL is how long the server keeps the marker of a key that ran out, for watchers.
	limitMarkerTTL = time.Minute
)

// Layout is what the streams look like as a whole.
type Layout struct {
	// Partitions of the log, 1 to 256. Fixed when the streams are made.
	Partitions int
	// Replicas of each stream: 1 on a stand-alone or embedded server, 3 in a cluster. 0 is what fits the server.
	Replicas int
	// MaxStore is what all of it may take on disk, in bytes. 0 means that only the server's own limit holds.
	MaxStore int64
	// OutcomeBytes is the size OUTCOME is trimmed down to (TrimOutcome). No limit of the stream itself, since
	// an outcome must never be refused while older ones still wait for a notification.
	OutcomeBytes int64
	// RetryMinutes are the pauses that get a RETRY stream. Empty means RetryMinutes().
	RetryMinutes []int
}

// MismatchError reports a stream, or a server, that is not what the configuration asks for. Nothing was changed, and
// trying again does not help.
type MismatchError struct {
	Stream, Field string // Stream is "(server)" for a limit of the server itself
	Have, Want    string // what the server has, "" where it does not tell, and what the configuration asks for
	Advice        string // the whole text of the error for a limit of the server itself: what to set where
}

func (e *MismatchError) Error() string {
	if e.Advice != "" {
		return e.Advice
	}
	return fmt.Sprintf("stream %s exists with %s %q, but %q is wanted; mail may lie in it, so it is not changed",
		e.Stream, e.Field, e.Have, e.Want)
}

// Ensure creates the streams and key-value buckets that are missing and checks those that exist. It returns a
// *MismatchError when one differs in subjects, retention, storage, replicas or partitions, or when the server
// takes smaller messages than MaxPayload or has less room than MAIL reserves of MaxStore. While the server cannot be reached, or the cluster has no leader yet, it
// tries again until ctx ends. Several processes may call it at once.
func Ensure(ctx context.Context, js jetstream.JetStream, l Layout) error {
	if err := l.validate(); err != nil {
		return err
	}
	err := untilReady(ctx, func() error {
		_, err := js.AccountInfo(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the server for JetStream: %w", err)
	}
	if have := js.Conn().MaxPayload(); have < MaxPayload { // known only once connected
		return payloadTooSmall(have)
	}
	if l.Replicas == 0 && js.Conn().ConnectedClusterName() != "" {
		l.Replicas = clusterReplicas
	}
	for _, want := range l.streams() {
		if err := untilReady(ctx, func() error { return ensureStream(ctx, js, want, l.MaxStore) }); err != nil {
			return err
		}
	}
	for _, bucket := range []string{BucketOwners, BucketChanges, BucketSuppression, BucketFingerprints, BucketPolicies} {
		if err := untilReady(ctx, func() error { return ensureBucket(ctx, js, bucket, l.replicas()) }); err != nil {
			return err
		}
	}
	return untilReady(ctx, func() error { return boundBucket(ctx, js, BucketFingerprints, MaxFingerprints) })
}

// untilReady repeats what fails only because the servers are not ready.
func untilReady(ctx context.Context, do func() error) error {
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		err := do()
		if err == nil || !notReady(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

func notReady(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == codeNoLeader || api.ErrorCode == codeClusterAway
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || classify(err) == notReached
}

func (l Layout) validate() error {
	var errs []error
	if l.Partitions < 1 || l.Partitions > 256 {
		errs = append(errs, fmt.Errorf("partitions: %d is not between 1 and 256", l.Partitions))
	}
	if l.Replicas < 0 || l.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas: %d is not between 1 and 5", l.Replicas))
	}
	if l.MaxStore < 0 || l.OutcomeBytes < 0 {
		errs = append(errs, errors.New("sizes must not be negative"))
	}
	for _, m := range l.RetryMinutes {
		if m < 0 {
			errs = append(errs, fmt.Errorf("retry pause: %d minutes", m))
		}
	}
	return errors.Join(errs...)
}

func (l Layout) replicas() int { return max(l.Replicas, 1) }

func (l Layout) retryMinutes() []int {
	if len(l.RetryMinutes) == 0 {
		return RetryMinutes()
	}
	return l.RetryMinutes
}

func (l Layout) streams() []jetstream.StreamConfig {
	mail := l.stream(StreamMail, MailSubject(AnyPartition))
	mail.AllowAtomicPublish = true // for keyed submissions
	mail.MaxBytes = -1
	if l.MaxStore > 0 {
		mail.MaxBytes = l.MaxStore / 100 * mailShare
	}
	minutes := l.retryMinutes()
	all := make([]jetstream.StreamConfig, 0, 5+len(minutes))
	all = append(all,
		mail,
		l.stream(StreamPark, ParkSubjects(AnyPartition)),
		l.stream(StreamOutcome, "outcome.*.*"),
		l.stream(StreamBodies, "body.*.*"),
		l.stream(StreamJoined, JoinedSubjects()),
	)
	for _, m := range minutes {
		all = append(all, l.stream(RetryStream(m), RetrySubject(m, AnyPartition)))
	}
	return all
}

// stream is what all streams share.
func (l Layout) stream(name, subject string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        name,
		Subjects:    []string{subject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		MaxMsgSize:  MaxPayload,
		Duplicates:  DedupeWindow,
		Replicas:    l.replicas(),
		AllowDirect: true, // see directGet
		Metadata: map[string]string{
			metaPartitions: strconv.Itoa(l.Partitions),
			metaFormat:     segmentVersion,
		},
	}
}

// askFor is how long one try to find or make a stream takes. A request that meets a change of the cluster's leader may
// never be answered.
const askFor = 5 * time.Second

// ensureStream tries until ctx ends.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, maxStore int64) error {
	for {
		try, cancel := context.WithTimeout(ctx, askFor)
		err := ensureOnce(try, js, want, maxStore)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

func ensureOnce(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, maxStore int64) error {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = createStream(ctx, js, want, maxStore)
	}
	if err != nil {
		return fmt.Errorf("find or create stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if err := compare(have, want); err != nil {
		return err
	}
	if have.MaxBytes == want.MaxBytes {
		return nil
	}
	have.MaxBytes = want.MaxBytes
	_, err = js.UpdateStream(ctx, have)
	if noRoom(err) {
		err = storeTooSmall(ctx, js, want, maxStore)
	}
	if err != nil {
		return fmt.Errorf("set the size limit of stream %s: %w", want.Name, err)
	}
	return nil
}

func compare(have, want jetstream.StreamConfig) error {
	for _, c := range []struct{ field, have, want string }{
		{"subjects", subjectList(have.Subjects), subjectList(want.Subjects)},
		{"retention", have.Retention.String(), want.Retention.String()},
		{"storage", have.Storage.String(), want.Storage.String()},
		{"discard policy", have.Discard.String(), want.Discard.String()},
		{"partitions", have.Metadata[metaPartitions], want.Metadata[metaPartitions]},
		{"format", have.Metadata[metaFormat], want.Metadata[metaFormat]},
		{"replicas", strconv.Itoa(have.Replicas), strconv.Itoa(want.Replicas)},
		{"message size limit", strconv.Itoa(int(have.MaxMsgSize)), strconv.Itoa(int(want.MaxMsgSize))},
		{"duplicate window", have.Duplicates.String(), want.Duplicates.String()},
	} {
		if c.have != c.want {
			return &MismatchError{Stream: want.Name, Field: c.field, Have: c.have, Want: c.want}
		}
	}
	return nil
}

func subjectList(subjects []string) string {
	return strings.Join(slices.Sorted(slices.Values(subjects)), " ")
}

func ensureBucket(ctx context.Context, js jetstream.JetStream, bucket string, replicas int) error {
	_, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: bucket, History: 1, Storage: jetstream.FileStorage, Replicas: replicas, LimitMarkerTTL: limitMarkerTTL,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			err = nil // another process made it meanwhile
		}
	}
	if err != nil {
		return fmt.Errorf("key-value bucket %s: %w", bucket, err)
	}
	return nil
}

// boundBucket limits how many keys a bucket holds. A full one refuses new keys; it never drops an old one.
func boundBucket(ctx context.Context, js jetstream.JetStream, bucket string, keys int64) error {
	s, err := js.Stream(ctx, "KV_"+bucket)
	if err == nil && s.CachedInfo().Config.MaxMsgs != keys {
		bounded := s.CachedInfo().Config
		bounded.MaxMsgs = keys
		_, err = js.UpdateStream(ctx, bounded)
	}
	if err != nil {
		return fmt.Errorf("bound key-value bucket %s: %w", bucket, err)
	}
	return nil
}

// RetryStreams returns the minutes of the RETRY streams that exist, in rising order, also those no longer
// configured.
func RetryStreams(ctx context.Context, js jetstream.JetStream) ([]int, error) {
	var minutes []int
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if m, ok := RetryStreamMinutes(name); ok {
			minutes = append(minutes, m)
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	slices.Sort(minutes)
	return minutes, nil
}

// StreamSizes returns the bytes each stream takes on its leader, those of key-value buckets too.
func StreamSizes(ctx context.Context, js jetstream.JetStream) (map[string]uint64, error) {
	sizes := make(map[string]uint64)
	all := js.ListStreams(ctx)
	for info := range all.Info() {
		sizes[info.Config.Name] = info.State.Bytes
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return sizes, nil
}

// Last is where a stream stands.
type Last struct {
	Subjects map[string]uint64 // last sequence of each subject that holds a message
	Sequence uint64            // last sequence of the stream, 0 before the first
	First    uint64            // first sequence still there
	Time     time.Time         // the server's time of the answer
	Bytes    uint64            // size of the stream
}

// LastSequences reports where a stream stands, as its leader knows it. The stream's last sequence and the time are read
// before those of the subjects, so that a subject whose last sequence is lower has nothing between the two. Each subject
// is a request of its own: not for PARK and BODIES, which have many.
func LastSequences(ctx context.Context, js jetstream.JetStream, stream string) (Last, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return Last{}, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return Last{}, fmt.Errorf("state of stream %s: %w", stream, err)
	}
	last := Last{
		Subjects: make(map[string]uint64, len(info.State.Subjects)),
		Sequence: info.State.LastSeq, First: info.State.FirstSeq, Time: info.TimeStamp, Bytes: info.State.Bytes,
	}
	for subject := range info.State.Subjects {
		if last.Subjects[subject], err = lastOfSubject(ctx, js, stream, subject); err != nil {
			return Last{}, err
		}
	}
	return last, nil
}
