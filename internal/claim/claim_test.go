package claim_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"longshore/internal/claim"
	"longshore/internal/claim/claimtest"
	"longshore/internal/claim/redistest"
	"longshore/internal/placement"
)

func TestMain(m *testing.M) {
	runOwner() // does not return in the process that a test started for it
	goleak.VerifyTestMain(m)
}

func TestTable(t *testing.T) {
	claimtest.Run(t, synctest.Test, func(t *testing.T, ttl time.Duration) claimtest.Claims {
		t.Helper()
		table, err := claim.NewTable(ttl)
		if err != nil {
			t.Fatal(err)
		}
		return table
	})
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	at := func(t *testing.T, f func(*testing.T)) {
		t.Helper()
		f(t)
	}
	claimtest.Run(t, at, func(t *testing.T, ttl time.Duration) claimtest.Claims {
		t.Helper()
		return open(t, server.URL(), t.Name(), ttl)
	})
}

// open connects to a server for one cluster.
func open(t *testing.T, url, cluster string, ttl time.Duration) *claim.Redis {
	t.Helper()
	r, err := claim.NewRedis(claim.Config{URL: url, Cluster: cluster, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]claim.Config{
		"no address":     {},
		"no scheme":      {URL: "localhost:6379"},
		"unknown scheme": {URL: "http://localhost"},
		"not a URL":      {URL: "redis://:s3cret@[::1"},
		"unknown option": {URL: "redis://:s3cret@localhost?colour=blue"},
		"negative time":  {URL: "redis://localhost", TTL: -time.Second},
		"tiny time":      {URL: "redis://localhost", TTL: time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := claim.NewRedis(cfg)
			var problem *placement.Error
			if !errors.As(err, &problem) || problem.Kind != placement.KindInvalid || problem.Next == "" {
				t.Fatalf("got %v, want Invalid with advice", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}
