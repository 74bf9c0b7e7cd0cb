package claim_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"longshore/internal/claim"
	"longshore/internal/claim/claimtest"
	"longshore/internal/claim/redistest"
	"longshore/internal/placement"
)

const web = placement.ID("alice/shop/web/1.00000000000000000001")

var epoch = placement.NewStart(1, 1).Epoch(1)

// raw is a plain connection, for what an operator may do to a server.
func raw(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// acquire asks once and fails the test on an error.
func acquire(t *testing.T, r *claim.Redis, node placement.NodeID) (placement.NodeID, bool) {
	t.Helper()
	holder, ok, err := r.Acquire(t.Context(), web, epoch, node)
	if err != nil {
		t.Fatal(err)
	}
	return holder, ok
}

// eventually asks until it is answered, granted or not.
func eventually(t *testing.T, r *claim.Redis, node placement.NodeID) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, ok, err := r.Acquire(ctx, web, epoch, node)
		if err == nil {
			return ok
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no answer in time: %v", err)
		case <-tick.C:
		}
	}
}

func TestRaceOfClients(t *testing.T) {
	server := redistest.Start(t)
	for range 5 {
		var clients []*claim.Redis
		for range 16 {
			clients = append(clients, open(t, server.URL(), "c1", time.Minute))
		}
		answers := claimtest.Race(t, len(clients),
			func(i int) claimtest.Claims { return clients[i] },
			func(int) placement.Epoch { return epoch })
		claimtest.CheckOneWinner(t, answers)
		if err := raw(t, server.URL()).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFlushForgets(t *testing.T) {
	server := redistest.Start(t)
	one, two := open(t, server.URL(), "c1", time.Minute), open(t, server.URL(), "c1", time.Minute)
	if _, ok := acquire(t, one, "n1"); !ok {
		t.Fatal("refused")
	}
	if err := raw(t, server.URL()).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, ok := acquire(t, two, "n2"); !ok {
		t.Error("refused after FLUSHALL")
	}
	if holder, ok := acquire(t, one, "n1"); ok || holder != "n2" {
		t.Errorf("the former holder got %s %v, want to hear of n2", holder, ok)
	}
}

func TestScriptsComeBack(t *testing.T) {
	server := redistest.Start(t)
	r := open(t, server.URL(), "c1", time.Minute)
	acquire(t, r, "n1")
	for range 2 {
		if err := raw(t, server.URL()).ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, ok := acquire(t, r, "n1"); !ok {
			t.Error("refused")
		}
		if err := raw(t, server.URL()).ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.Release(t.Context(), web, epoch, "n1"); err != nil {
			t.Error(err)
		}
	}
}

// Every key that is there ends by itself.
func TestKeys(t *testing.T) {
	server := redistest.Start(t)
	for _, cluster := range []string{"c1", "c2"} {
		if _, ok := acquire(t, open(t, server.URL(), cluster, 0), "n1"); !ok {
			t.Errorf("%s: refused: clusters are not apart", cluster)
		}
	}
	c := raw(t, server.URL())
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %v, err %v, want two", keys, err)
	}
	for _, k := range keys {
		if k != "longshore:1:claim:{c1/"+string(web)+"}" && k != "longshore:1:claim:{c2/"+string(web)+"}" {
			t.Errorf("unexpected key %s", k)
		}
		ttl, err := c.PTTL(t.Context(), k).Result()
		if err != nil || ttl <= 0 || ttl > claim.DefaultTTL {
			t.Errorf("%s: time to live %v, err %v, want up to %v", k, ttl, err, claim.DefaultTTL)
		}
	}
}

func TestKilledServer(t *testing.T) {
	server := redistest.Start(t)
	r := open(t, server.URL(), "c1", time.Minute)
	acquire(t, r, "n1")
	for range 3 {
		server.Kill()
		for range 8 { // more than there are connections
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			began := time.Now()
			_, ok, err := r.Acquire(ctx, web, epoch, "n2")
			if ok || err == nil {
				t.Errorf("got %v %v of a dead server", ok, err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the error took %v", took)
			}
			cancel()
		}
		server.Restart()
		if !eventually(t, r, "n2") {
			t.Error("refused by an empty server")
		}
	}
}

func TestFrozenServer(t *testing.T) {
	server := redistest.Start(t)
	r := open(t, server.URL(), "c1", time.Minute)
	acquire(t, r, "n1")
	thaw := server.Freeze()
	for range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		_, ok, err := r.Acquire(ctx, web, epoch, "n1")
		if ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v %v, want the deadline's error", ok, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a call with 100ms took %v", took)
		}
		cancel()
	}
	thaw()
	if !eventually(t, r, "n1") {
		t.Error("refused its own claim")
	}
}

func BenchmarkAcquire(b *testing.B) {
	server := redistest.Start(b)
	r, err := claim.NewRedis(claim.Config{URL: server.URL(), Cluster: "c1"})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		if _, ok, err := r.Acquire(b.Context(), web, epoch, "n1"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
