package bench_test

import (
	"fmt"
	"testing"
	"time"

	"longshore/test/cluster"
)

const (
	slowStarts = 20 // with a slow pull beside them, and as many without
	slowBatch  = 5  // in turns of so many
)

// BenchmarkStartBesideSlowPull: starts of an owner while a pull of theirs on
// that node gets a byte a second, against starts without it.
func BenchmarkStartBesideSlowPull(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Nodes: 1})
	slow := c.SlowRegistry()
	c.PushHello(owner, "hello:latest")
	c.PushLarge(owner, "large:latest")
	k := dial(b, c)
	k.run(app("warm", "hello:latest", ""))

	slow.Slow(true)
	times := map[bool][]time.Duration{}
	for i := range 2 * slowStarts / slowBatch {
		beside := i%2 == 0
		if beside {
			k.submit(app("slow", "large:latest", ""))
			cluster.Eventually(b, 20*time.Second, "the slow pull is under way", func() error { return flows(slow, 1) })
		}
		var names []string
		for j := range slowBatch {
			rest()
			name := fmt.Sprintf("start-%d-%d", i, j)
			times[beside] = append(times[beside], k.run(app(name, "hello:latest", "")).took)
			names = append(names, name)
		}
		if beside {
			if err := flows(slow, 1); err != nil {
				b.Fatalf("after the starts beside it: %v", err)
			}
			names = append(names, "slow")
		}
		k.remove(c, names...)
		cluster.Eventually(b, 20*time.Second, "the slow pull is over", func() error { return flows(slow, 0) })
	}
	ratio := float64(median(times[true])) / float64(median(times[false]))
	b.ReportMetric(ratio, "beside/alone")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d starts beside a pull at a byte a second %s, %d without it %s, in turns of %d: ratio %.3f (aim: 1.20 or less); %d bytes came",
		slowStarts, spread(times[true]), slowStarts, spread(times[false]), slowBatch, ratio, slow.Sent())
}

func flows(s *cluster.SlowRegistry, want int) error {
	if n := s.Flowing(); n != want {
		return fmt.Errorf("%d slow transfers, not %d", n, want)
	}
	return nil
}
