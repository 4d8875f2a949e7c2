// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/await"
	"github.com/postrider/postrider/testkit/bustest"
)

func startCluster(tb testing.TB) (*bustest.Cluster, jetstream.JetStream) {
	tb.Helper()
	c := bustest.StartCluster(tb, 3)
	js := c.JetStream()
	if err := Ensure(testContext(tb), js, Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
		tb.Fatal(err)
	}
	return c, js
}

// Replicas 0 is what fits the server: three copies in a cluster (startCluster), one on a stand-alone server.
func TestReplicasFitTheServer(t *testing.T) {
	_, clustered := startCluster(t)
	alone := bustest.Start(t).JetStream()
	if err := Ensure(testContext(t), alone, Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
		t.Fatal(err)
	}
	for want, js := range map[int]jetstream.JetStream{3: clustered, 1: alone} {
		stream, err := js.Stream(testContext(t), StreamMail)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config.Replicas; got != want {
			t.Errorf("%d replicas, want %d", got, want)
		}
	}
}

// What a replicated stream answers to a repeated publish that states an expected sequence: the id is looked at first.
// On a stand-alone server it is the other way round (TestLostAnswerIsNotStoredTwice).
func TestClusterAnswersARepeatedFencedPublishAsDuplicate(t *testing.T) {
	_, js := startCluster(t)
	send := func(expected uint64) (*jetstream.PubAck, error) {
		return publishOnce(testContext(t), js, &nats.Msg{Subject: RetrySubject(0, 0), Header: nats.Header{
			jetstream.MsgIDHeader: {"id"}, jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expected, 10)},
		}}, defaultPublishTimeout)
	}
	for i := range 2 {
		ack, err := send(0)
		if err != nil || ack.Sequence != 1 || ack.Duplicate != (i == 1) {
			t.Errorf("publish %d: %+v, %v", i, ack, err)
		}
	}
}

// Leaders are stopped one after the other while a fenced owner appends, a keyed caller submits and a reader reads:
// nothing is lost, nothing is stored twice, nothing is read out of order.
func TestClusterOverLeaderChanges(t *testing.T) {
	c, js := startCluster(t)
	subject := RetrySubject(0, 0)
	var taken *Taken
	await.Until(t, "the partition is taken over", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var err error
		taken, err = TakeOver(ctx, js, 0, TakeOverOptions{Owner: "owner", RetryMinutes: []int{0}})
		return err == nil
	})
	fenced := newAppender(t, js, AppenderOptions{
		Fence: taken.Fences[subject], RetryFor: Forever, OnRefused: func(_ context.Context, err error) error {
			t.Errorf("refused though nobody else appends: %v", err)
			return ErrLeaseLost
		},
	})
	accept := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}, RetryFor: 30 * time.Second})
	r := newReader(t, js, ReaderOptions{Stream: RetryStream(0), From: taken.Fences[subject].Last() + 1})

	stop := make(chan struct{})
	var wg sync.WaitGroup
	work := func(do func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					do(i)
				}
			}
		})
	}
	var appended []string
	work(func(i int) {
		id := fmt.Sprint("settled-", i)
		if _, err := fenced.Append(context.Background(), []Frame{mailFrame(t, id)}); err != nil {
			t.Error(err)
		}
		appended = append(appended, id)
	})
	keyed := make(map[uint64]string)
	work(func(i int) {
		id := fmt.Sprint("mail-", i)
		p, _, err := accept.AppendKeyed(context.Background(), KeyedMsgID(KeyHash("", id)), []Frame{mailFrame(t, id)})
		if err != nil {
			t.Error(err)
		}
		keyed[p.Sequence] = id
	})
	for _, stream := range []string{RetryStream(0), StreamMail} {
		var leader int
		await.Until(t, "a leader", func() bool { leader = c.Leader(stream); return leader >= 0 })
		before := fenced.opts.Fence.Last()
		c.Stop(leader)
		await.Until(t, "appending goes on", func() bool { return fenced.opts.Fence.Last() > before+20 })
		c.StartAgain(leader)
		c.AwaitReady(time.Minute)
	}
	close(stop)
	wg.Wait()

	var read []string
	err := r.ReadToEnd(testContext(t), func(d Delivery) error {
		read = append(read, recordIDs(t, d)...)
		return nil
	})
	if err != nil || !slices.Equal(read, appended) {
		t.Errorf("appended %d records, read %d, %v", len(appended), len(read), err)
	}
	n := 0
	mail := newReader(t, js, ReaderOptions{Stream: StreamMail})
	err = mail.ReadToEnd(testContext(t), func(d Delivery) error {
		if ids := recordIDs(t, d); len(ids) != 1 || ids[0] != keyed[d.Sequence] {
			t.Errorf("segment %d holds %v, want %s", d.Sequence, ids, keyed[d.Sequence])
		}
		n++
		return nil
	})
	if err != nil || n != len(keyed) {
		t.Errorf("%d keyed segments, %d answered, %v", n, len(keyed), err)
	}
	t.Logf("%d fenced and %d keyed segments over two leader changes", len(appended), n)
}

func recordIDs(tb testing.TB, d Delivery) (ids []string) {
	tb.Helper()
	if d.Err != nil {
		tb.Error(d.Err)
	}
	for i := range d.Segment.Len() {
		f, err := d.Segment.Frame(i)
		if err != nil {
			tb.Fatal(err)
		}
		m, err := f.Mail()
		if err != nil {
			tb.Fatal(err)
		}
		ids = append(ids, m.GetMessageId())
	}
	return ids
}

func TestClusterEnsureRefusesOtherReplicas(t *testing.T) {
	_, js := startCluster(t)
	err := Ensure(testContext(t), js, Layout{Partitions: 1, Replicas: 1, RetryMinutes: []int{0}})
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Field != "replicas" || mismatch.Have != "3" || mismatch.Want != "1" {
		t.Errorf("got %v, want a MismatchError for replicas", err)
	}
}
