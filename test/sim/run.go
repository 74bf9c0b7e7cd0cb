package sim

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// healing is how long everything has to come right after the last fault:
// restarts of what looped back off up to five minutes.
const healing = 8 * time.Minute

// Run simulates one cluster, in a bubble of its own.
func Run(t *testing.T, cfg Config) Result {
	t.Helper()
	var r Result
	synctest.Test(t, func(t *testing.T) { r = run(t.Context(), cfg) })
	return r
}

func run(ctx context.Context, cfg Config) Result {
	ctx, stop := context.WithCancel(ctx)
	w := newWorld(ctx, cfg)
	engine, halt := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { w.e.run(engine) })
	w.schedule()
	select {
	case <-time.After(cfg.Length + healing):
	case <-w.found:
	}
	judged := make(chan Result)
	w.e.after(1, 0, func() {
		if len(w.judge.violations) == 0 || !cfg.First {
			w.final()
		}
		judged <- w.result()
	})
	r := <-judged
	w.shutDown(stop)
	halt()
	running.Wait()
	return r
}

// schedule has the cluster started, worked and judged.
func (w *world) schedule() {
	w.e.after(time.Millisecond, 0, w.startServer)
	for _, n := range w.nodes {
		w.e.after(w.e.between(0, 3*time.Second, string(n.id), "agentd"), 1, n.startAgent)
		w.e.after(w.e.between(0, 3*time.Second, string(n.id), "hostinfod"), 2, n.startHostinfo)
	}
	w.e.after(5*time.Second, 0, w.startWork)
	for _, f := range w.cfg.Faults {
		w.e.after(f.At, 3, func() { w.inject(f) })
	}
	var look func()
	look = func() {
		w.judge.overdue()
		w.e.after(5*time.Second, 4, look)
	}
	w.e.after(30*time.Second, 4, look)
	var all func()
	all = func() {
		w.judge.full()
		w.e.after(time.Minute, 5, all)
	}
	w.e.after(time.Minute, 5, all)
}

// shutDown ends every process and lets its goroutines return.
func (w *world) shutDown(stop context.CancelFunc) {
	done := make(chan struct{})
	w.e.after(1, 0, func() {
		for _, n := range w.nodes {
			n.killAgent()
			n.hostinfod.kill()
		}
		w.server.kill()
		w.disk.hangs(false)
		close(done)
	})
	<-done
	stop()
	time.Sleep(time.Minute) // what they undo is bounded
}

func (w *world) result() Result {
	return Result{
		Seed: w.cfg.Seed, Nodes: w.cfg.Nodes, Trace: w.e.sum(), Violations: w.judge.violations,
		Events: w.e.events, Fired: w.fired, Faults: w.injected, Story: w.lines,
	}
}
