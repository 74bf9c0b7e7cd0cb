package retryq_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"longshore/internal/placement"
	"longshore/retryq"
)

// benchLedger is a ledger on a file with one node, and n submitted replicas to
// bind, each of needs of its own so that all are due at once.
func benchLedger(b *testing.B) (*retryq.Ledger, placement.SessionOp) {
	b.Helper()
	store, l := openFile(b, filepath.Join(b.TempDir(), "ledger"))
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended; store.Close() })
	r, err := l.Register(b.Context(), placement.Register{V: 1, Cluster: l.Cluster(), Node: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	return l, placement.SessionOp{Session: r.Session}
}

// BenchmarkSubmit is one submit after the other: the latency that a user sees.
func BenchmarkSubmit(b *testing.B) {
	l, _ := benchLedger(b)
	for i := 0; b.Loop(); i++ {
		a := app(1)
		a.Name = fmt.Sprint("a", i)
		if _, err := l.Submit(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSubmitParallel is many submitters at once.
func BenchmarkSubmitParallel(b *testing.B) {
	l, _ := benchLedger(b)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a := app(1)
			a.Name = fmt.Sprint("a", n.Add(1))
			if _, err := l.Submit(b.Context(), a); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkBind is the latency of one bind, with nothing else going on.
func BenchmarkBind(b *testing.B) {
	l, at := benchLedger(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		a := app(1)
		a.Name = fmt.Sprint("a", i)
		if _, err := l.Submit(b.Context(), a); err != nil {
			b.Fatal(err)
		}
		try, err := l.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		l.Settle(try, placement.Outcome{Taken: "n1"})
		at.Op++
		b.StartTimer()
		answer, err := l.Bind(b.Context(), placement.Bind{Cluster: l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: at})
		if err != nil || answer.Verdict != placement.VerdictYes {
			b.Fatal(answer, err)
		}
	}
}
