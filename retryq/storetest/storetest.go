// Package storetest is the contract of [retryq.Store] as a test.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"longshore/retryq"
)

// Run tests one kind of store; open makes an empty one and closes it when the
// test ends.
func Run(t *testing.T, open func(t *testing.T) retryq.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(fixture)
	}{
		{"a key that was never put is absent", absent},
		{"a put key has the revision of its transaction", putGet},
		{"a failed expectation changes nothing", conflict},
		{"absence can be expected", expectAbsence},
		{"a deleted key that comes back has a new revision", again},
		{"scan gives the prefix in order, and copies", scan},
		{"a scan ends with the error of its function", scanError},
		{"bounds and doubled keys are refused", bounds},
		{"one of many compares wins", race},
		{"revisions are unique under load", load},
		{"an ended context stops what is not queued", ended},
		{"a closed store says so", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(fixture{t: t, s: open(t)}) })
	}
}

// fixture is what each test of the suite gets.
type fixture struct {
	t *testing.T
	s retryq.Store
}

func commit(t *testing.T, s retryq.Store, txn retryq.Txn) uint64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), txn)
	if err != nil {
		t.Fatalf("commit %v: %v", txn, err)
	}
	return rev
}

func get(t *testing.T, s retryq.Store, key string) retryq.Item {
	t.Helper()
	items, err := s.Get(t.Context(), key)
	if err != nil || len(items) != 1 || items[0].Key != key {
		t.Fatalf("get %s: %v, %v", key, items, err)
	}
	return items[0]
}

func put(kv ...string) retryq.Txn {
	var t retryq.Txn
	for i := 0; i < len(kv); i += 2 {
		t.Put = append(t.Put, retryq.Put{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return t
}

func absent(f fixture) {
	t, s := f.t, f.s
	if item := get(t, s, "p/none"); item.Rev != 0 || item.Value != nil {
		t.Errorf("an absent key has revision %d, value %q", item.Rev, item.Value)
	}
	if rev, err := s.Revision(t.Context()); rev != 0 || err != nil {
		t.Errorf("an empty store has revision %d, %v", rev, err)
	}
	commit(t, s, retryq.Txn{Delete: []string{"p/none"}})
}

func putGet(f fixture) {
	t, s := f.t, f.s
	rev := commit(t, s, put("p/a", "1", "r/a", "2"))
	for _, key := range []string{"p/a", "r/a"} {
		if item := get(t, s, key); item.Rev != rev {
			t.Errorf("%s has revision %d, want %d", key, item.Rev, rev)
		}
	}
	next := commit(t, s, put("p/a", "3"))
	if next != rev+1 {
		t.Errorf("revision %d follows %d", next, rev)
	}
	if now, err := s.Revision(t.Context()); now != next || err != nil {
		t.Errorf("revision is %d, %v, want %d", now, err, next)
	}
	items, err := s.Get(t.Context(), "r/a", "x/none", "p/a")
	if err != nil || len(items) != 3 || string(items[0].Value) != "2" || items[1].Rev != 0 || string(items[2].Value) != "3" || items[2].Rev != next {
		t.Errorf("get of three: %v, %v", items, err)
	}
}

func conflict(f fixture) {
	t, s := f.t, f.s
	rev := commit(t, s, put("p/a", "1"))
	txn := put("p/a", "2", "p/b", "2")
	txn.Expect = []retryq.Expect{{Key: "p/a", Rev: rev}, {Key: "p/b", Rev: 77}}
	txn.Delete = []string{"p/c"}
	if _, err := s.Commit(t.Context(), txn); !errors.Is(err, retryq.ErrConflict) {
		t.Fatalf("commit: %v, want ErrConflict", err)
	}
	if item := get(t, s, "p/a"); string(item.Value) != "1" || item.Rev != rev {
		t.Errorf("p/a became %q", item.Value)
	}
	if item := get(t, s, "p/b"); item.Rev != 0 {
		t.Errorf("p/b became %q", item.Value)
	}
}

func expectAbsence(f fixture) {
	t, s := f.t, f.s
	txn := put("p/a", "1")
	txn.Expect = []retryq.Expect{{Key: "p/a"}}
	commit(t, s, txn)
	if _, err := s.Commit(t.Context(), txn); !errors.Is(err, retryq.ErrConflict) {
		t.Errorf("second commit: %v, want ErrConflict", err)
	}
}

func again(f fixture) {
	t, s := f.t, f.s
	first := commit(t, s, put("p/a", "1"))
	commit(t, s, retryq.Txn{Delete: []string{"p/a"}, Expect: []retryq.Expect{{Key: "p/a", Rev: first}}})
	if item := get(t, s, "p/a"); item.Rev != 0 {
		t.Errorf("a deleted key has revision %d", item.Rev)
	}
	commit(t, s, put("p/a", "1"))
	stale := put("p/a", "2")
	stale.Expect = []retryq.Expect{{Key: "p/a", Rev: first}}
	if _, err := s.Commit(t.Context(), stale); !errors.Is(err, retryq.ErrConflict) {
		t.Errorf("commit on the deleted one's revision: %v, want ErrConflict", err)
	}
}

func scan(f fixture) {
	t, s := f.t, f.s
	commit(t, s, put("p/b/1", "b", "p/a", "a", "p/b/0", "c", "q/b/2", "d", "p/b", "e"))
	var keys []string
	var values [][]byte
	err := s.Scan(t.Context(), "p/b/", func(i retryq.Item) error {
		keys, values = append(keys, i.Key), append(values, i.Value)
		return nil
	})
	if err != nil || !slices.Equal(keys, []string{"p/b/0", "p/b/1"}) {
		t.Fatalf("scan: %v, %v", keys, err)
	}
	commit(t, s, put("p/b/0", "x", "p/b/1", "y"))
	if string(values[0]) != "c" || string(values[1]) != "b" {
		t.Errorf("values changed under the reader: %q", values)
	}
	if err := s.Scan(t.Context(), "none/", func(retryq.Item) error { return errors.New("called") }); err != nil {
		t.Errorf("scan of nothing: %v", err)
	}
}

func scanError(f fixture) {
	t, s := f.t, f.s
	commit(t, s, put("p/a", "1", "p/b", "2"))
	enough := errors.New("enough")
	n := 0
	err := s.Scan(t.Context(), "p/", func(retryq.Item) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("scan: %d calls, %v", n, err)
	}
}

func bounds(f fixture) {
	t, s := f.t, f.s
	many := retryq.Txn{}
	for i := range retryq.MaxOps + 1 {
		many.Put = append(many.Put, retryq.Put{Key: fmt.Sprint("p/", i)})
	}
	for name, txn := range map[string]retryq.Txn{
		"too many":    many,
		"put twice":   put("p/a", "1", "p/a", "2"),
		"put, delete": {Put: put("p/a", "1").Put, Delete: []string{"p/a"}},
		"no key":      put("", "1"),
	} {
		if _, err := s.Commit(t.Context(), txn); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	most := retryq.Txn{Put: many.Put[:retryq.MaxOps]}
	for _, p := range most.Put {
		most.Expect = append(most.Expect, retryq.Expect{Key: p.Key})
	}
	commit(t, s, most)
}

func race(f fixture) {
	t, s := f.t, f.s
	rev := commit(t, s, put("p/a", "0"))
	const racers = 50
	won := make(chan int, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			txn := put("p/a", fmt.Sprint(i))
			txn.Expect = []retryq.Expect{{Key: "p/a", Rev: rev}}
			switch _, err := s.Commit(t.Context(), txn); {
			case err == nil:
				won <- i
			case !errors.Is(err, retryq.ErrConflict):
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	all.Wait()
	close(won)
	winner, ok := <-won
	if _, more := <-won; !ok || more {
		t.Fatal("not exactly one racer won")
	}
	if item := get(t, s, "p/a"); string(item.Value) != fmt.Sprint(winner) {
		t.Errorf("racer %d won, the value is %q", winner, item.Value)
	}
}

func load(f fixture) {
	t, s := f.t, f.s
	const writers, each = 20, 20
	revs := make([][]uint64, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				rev, err := s.Commit(t.Context(), put(fmt.Sprintf("p/%d/%d", w, i), strings.Repeat("x", 300)))
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				revs[w] = append(revs[w], rev)
			}
		})
	}
	all.Wait()
	seen := make(map[uint64]bool)
	for w := range writers {
		if !slices.IsSorted(revs[w]) {
			t.Errorf("writer %d saw revisions out of order: %v", w, revs[w])
		}
		for _, rev := range revs[w] {
			if seen[rev] {
				t.Fatalf("revision %d was given twice", rev)
			}
			seen[rev] = true
		}
	}
	n := 0
	if err := s.Scan(t.Context(), "p/", func(retryq.Item) error { n++; return nil }); err != nil || n != writers*each {
		t.Errorf("scan found %d of %d, %v", n, writers*each, err)
	}
	if rev, err := s.Revision(t.Context()); rev != writers*each || err != nil {
		t.Errorf("revision %d after %d transactions, %v", rev, writers*each, err)
	}
}

func ended(f fixture) {
	t, s := f.t, f.s
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, put("p/a", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if item := get(t, s, "p/a"); item.Rev != 0 {
		t.Errorf("it was written: %q", item.Value)
	}
}

func closed(f fixture) {
	t, s := f.t, f.s
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if _, err := s.Commit(t.Context(), put("p/a", "1")); !errors.Is(err, retryq.ErrClosed) {
		t.Errorf("commit: %v, want ErrClosed", err)
	}
	if _, err := s.Get(t.Context(), "p/a"); !errors.Is(err, retryq.ErrClosed) {
		t.Errorf("get: %v, want ErrClosed", err)
	}
	if _, err := s.Revision(t.Context()); !errors.Is(err, retryq.ErrClosed) {
		t.Errorf("revision: %v, want ErrClosed", err)
	}
}
