// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"testing"
	"time"

	"github.com/postrider/postrider/testkit/await"
)

func openShared(t *testing.T, ttl time.Duration) (*SharedKeys, *SharedKeys) {
	t.Helper()
	s, js := startBus(t)
	one, err := OpenSharedKeys(testContext(t), js, ttl)
	if err != nil {
		t.Fatal(err)
	}
	two, err := OpenSharedKeys(testContext(t), client(t, s), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return one, two
}

func TestL10_SharedKeysAreSeenByAllAndWrittenByOne(t *testing.T) {
	t.Parallel()
	one, two := openShared(t, time.Hour)
	ctx := testContext(t)
	if value, revision, err := one.Get(ctx, "response.aa"); len(value) != 0 || revision != 0 || err != nil {
		t.Fatalf("%q, %d, %v before it was written", value, revision, err)
	}
	if stored, err := one.Put(ctx, "response.aa", []byte("1"), 0); !stored || err != nil {
		t.Fatal(stored, err)
	}
	if stored, err := two.Put(ctx, "response.aa", []byte("x"), 0); stored || err != nil {
		t.Fatalf("stored %v over a value not read, %v", stored, err)
	}
	value, revision, err := two.Get(ctx, "response.aa")
	if string(value) != "1" || err != nil {
		t.Fatalf("%q, %v", value, err)
	}
	if stored, err := two.Put(ctx, "response.aa", []byte("2"), revision); !stored || err != nil {
		t.Fatal(stored, err)
	}
	if stored, err := one.Put(ctx, "response.aa", []byte("3"), revision); stored || err != nil {
		t.Fatalf("stored %v over a newer value, %v", stored, err)
	}
	if value, _, err := one.Get(ctx, "response.aa"); string(value) != "2" || err != nil {
		t.Errorf("%q, %v", value, err)
	}
	if _, err := one.Put(ctx, "bad key", nil, 0); err == nil {
		t.Error("a key with a space was taken")
	}
}

func TestL06_SharedKeysRunOut(t *testing.T) {
	t.Parallel()
	one, _ := openShared(t, time.Second)
	ctx := testContext(t)
	if stored, err := one.Put(ctx, "a", []byte("1"), 0); !stored || err != nil {
		t.Fatal(stored, err)
	}
	await.Until(t, "the key has run out", func() bool {
		value, revision, err := one.Get(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if len(value) > 0 {
			return false
		}
		stored, err := one.Put(ctx, "a", []byte("again"), revision)
		return stored && err == nil
	})
}

func TestL06_SharedKeysAreBounded(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	ctx := testContext(t)
	s, err := js.Stream(ctx, "KV_"+BucketFingerprints)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxMsgs; got != 1_000_000 {
		t.Errorf("the bucket holds %d keys", got)
	}
	if err := boundBucket(ctx, js, BucketFingerprints, 3); err != nil {
		t.Fatal(err)
	}
	keys, err := OpenSharedKeys(ctx, js, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		if stored, err := keys.Put(ctx, key, []byte("1"), 0); !stored || err != nil {
			t.Fatal(key, stored, err)
		}
	}
	var noRoom *FullError
	if stored, err := keys.Put(ctx, "d", []byte("1"), 0); stored || !errors.As(err, &noRoom) {
		t.Errorf("a key over the bound: stored %v, %v", stored, err)
	}
	_, revision, err := keys.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := keys.Put(ctx, "a", []byte("2"), revision); !stored || err != nil {
		t.Errorf("a known key in a full bucket: stored %v, %v", stored, err)
	}
	for _, key := range []string{"a", "b", "c"} {
		if value, _, err := keys.Get(ctx, key); len(value) == 0 || err != nil {
			t.Errorf("%s is gone: %v", key, err)
		}
	}
}
