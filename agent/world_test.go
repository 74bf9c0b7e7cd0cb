package agent_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/agent"
	"longshore/internal/dockerd"
	"longshore/internal/opfile"
	"longshore/internal/placement"
)

// world is an agent among fakes that only remember, in a synctest bubble. What
// they are asked is written into one journal, in order.
type world struct {
	t      *testing.T
	cfg    agent.Config
	docker *fakeDocker
	claims *fakeClaims
	ports  *fakePorts
	ledger *fakeLedger
	agent  *agent.Agent
	end    func() error
	log    *journal
}

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(words ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, strings.Join(words, " "))
}

// take returns what was written and begins anew.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// newWorld makes an agent that does not run yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, log: &journal{}}
	w.cfg = agent.Config{
		Node: "n1", Address: "127.0.0.1", StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		Capacity: placement.Resources{CPU: 4000, Memory: 8 * gib, Disk: 100 * gib},
	}
	w.docker = &fakeDocker{log: w.log, here: map[placement.ID]*fakeCopy{}, hooks: map[string]func(context.Context) error{}, events: make(chan dockerd.Event, 1000), broken: map[string]bool{}}
	w.claims = &fakeClaims{log: w.log, held: map[placement.ID]placement.NodeID{}}
	w.ports = &fakePorts{log: w.log, open: map[placement.ID]bool{}}
	w.ledger = &fakeLedger{t: t, log: w.log, world: w, mark: placement.Mark{Gen: 1, Start: start1, Rev: 1}, cluster: "c1"}
	return w
}

// start runs the agent until it is registered, or has tried to.
func (w *world) start() {
	w.t.Helper()
	a, err := agent.New(w.cfg, agent.Deps{
		Runtime: w.docker, Eyes: w.docker, Ports: w.ports, Claims: w.claims, Broadcaster: w.ledger,
		Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.agent = a
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	w.end = func() error { cancel(); return <-done }
	w.settle()
}

// rest lets d go by and what is under way then come to rest.
func (w *world) rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) settle() { w.rest(time.Second) }

func (w *world) stop() {
	w.t.Helper()
	if err := w.end(); err != nil {
		w.t.Errorf("run: %v", err)
	}
}

// inWorld runs f with a running agent in a bubble.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { w.stop() }()
		w.log.take()
		f(w)
	})
}

func request() placement.Request {
	return placement.Request{V: placement.Format, Image: "alice/shop@sha256:1", Needs: placement.Resources{CPU: 500, Memory: gib}}
}

func (w *world) offer(id placement.ID, r placement.Request) placement.OfferAnswer {
	w.t.Helper()
	a, err := w.agent.Offer(w.t.Context(), placement.Offer{Mark: w.ledger.now(), Cluster: "c1", ID: id, Epoch: epoch(1), Request: r, Valid: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) mustTake(id placement.ID, r placement.Request) {
	w.t.Helper()
	if a := w.offer(id, r); !a.Taken {
		w.t.Fatalf("offer of %s: passed: %s", id, a.Reason)
	}
}

// nothingLeft checks that no trace of any placement is left on the node.
func (w *world) nothingLeft() {
	w.t.Helper()
	if r := w.agent.Room(); r.Copies != 0 || r.Promised != (placement.Resources{}) {
		w.t.Errorf("room is still promised: %+v", r)
	}
	if i := w.agent.Info(); len(i.Work) != 0 {
		w.t.Errorf("still at work: %+v", i.Work)
	}
	if n := w.docker.count(); n != 0 {
		w.t.Errorf("%d containers left", n)
	}
	if n := len(w.claims.held); n != 0 {
		w.t.Errorf("%d claims left", n)
	}
	if n := len(w.ports.open); n != 0 {
		w.t.Errorf("%d ports left", n)
	}
	if files, _ := os.ReadDir(filepath.Join(w.cfg.StateDir, "requests")); len(files) != 0 {
		w.t.Errorf("request files left: %v", files)
	}
}

func (w *world) op() placement.SessionOp {
	o, err := opfile.Read(w.cfg.RunDir)
	if err != nil {
		return placement.SessionOp{}
	}
	return o.At()
}

// fakeLedger answers as its functions say; without one, yes.
type fakeLedger struct {
	t       *testing.T
	log     *journal
	world   *world
	cluster string
	turmoil bool // containers come and go by themselves

	mu       sync.Mutex
	mark     placement.Mark
	session  uint64
	shown    placement.Register
	down     bool
	bind     func(b placement.Bind) (placement.BindAnswer, error)
	binds    []placement.Bind
	failed   []placement.Failed
	progress []placement.Progress
}

func (l *fakeLedger) now() placement.Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mark.Rev++
	return l.mark
}

var errDown = &placement.Error{Kind: placement.KindUnavailable, What: "the link is down"}

func (l *fakeLedger) Register(_ context.Context, r placement.Register) (placement.Registered, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log.add("register")
	if l.down {
		return placement.Registered{}, errDown
	}
	l.shown, l.session = r, max(l.session, r.Session)+1
	return placement.Registered{Mark: l.mark, Cluster: l.cluster, Session: l.session}, nil
}

func (l *fakeLedger) Bind(_ context.Context, b placement.Bind) (placement.BindAnswer, error) {
	if at := l.world.op(); at.Compare(b.At) < 0 {
		l.t.Errorf("bind at %v was sent while the op file said %v", b.At, at)
	}
	if s := l.world.docker.state(b.ID); !l.turmoil && (s != placement.CopyCreated && b.Exit == nil || s != placement.CopyExited && b.Exit != nil) {
		l.t.Errorf("bind of %s (exit %v) was sent while its copy was %q", b.ID, b.Exit, s)
	}
	l.mu.Lock()
	l.binds = append(l.binds, b)
	l.log.add("bind", string(b.ID))
	f, down := l.bind, l.down
	l.mu.Unlock()
	if down {
		return placement.BindAnswer{}, errDown
	}
	answer := placement.BindAnswer{Verdict: placement.VerdictYes}
	if f != nil {
		var err error
		if answer, err = f(b); err != nil {
			return answer, err
		}
	}
	if answer.At == (placement.SessionOp{}) {
		answer.At = b.At
	}
	if answer.Mark == (placement.Mark{}) {
		answer.Mark = l.now()
	}
	return answer, nil
}

func (l *fakeLedger) Failed(_ context.Context, f placement.Failed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errDown
	}
	l.log.add("failed", string(f.ID))
	l.failed = append(l.failed, f)
	return nil
}

func (l *fakeLedger) Progress(_ context.Context, p placement.Progress) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress = append(l.progress, p)
	return nil
}

// given is the reason of the last word of progress, "" if it was no giving up.
func (l *fakeLedger) given() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.progress) == 0 || l.progress[len(l.progress)-1].Given == nil {
		return ""
	}
	return l.progress[len(l.progress)-1].Given.String()
}

func (l *fakeLedger) set(f func(*fakeLedger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func verdicts(v ...string) func(placement.Bind) (placement.BindAnswer, error) {
	var mu sync.Mutex
	return func(placement.Bind) (placement.BindAnswer, error) {
		mu.Lock()
		defer mu.Unlock()
		a := placement.BindAnswer{Verdict: v[0], Wait: 2000, Reason: "as the test says"}
		if len(v) > 1 {
			v = v[1:]
		}
		return a, nil
	}
}

type fakeClaims struct {
	log  *journal
	mu   sync.Mutex
	held map[placement.ID]placement.NodeID
	err  error
	asks int
}

func (c *fakeClaims) Acquire(_ context.Context, id placement.ID, _ placement.Epoch, node placement.NodeID) (placement.NodeID, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks++
	if c.err != nil {
		return "", false, c.err
	}
	if h, found := c.held[id]; found && h != node {
		return h, false, nil
	}
	c.held[id] = node
	return node, true, nil
}

func (c *fakeClaims) Release(_ context.Context, id placement.ID, _ placement.Epoch, node placement.NodeID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[id] == node {
		delete(c.held, id)
	}
	c.log.add("release", string(id))
	return c.err
}

type fakePorts struct {
	log  *journal
	mu   sync.Mutex
	open map[placement.ID]bool
	err  error
}

func (p *fakePorts) Expose(_ context.Context, id placement.ID, _ []placement.Port) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.add("expose", string(id))
	p.open[id] = true // even when it fails half way
	return p.err
}

func (p *fakePorts) Withdraw(_ context.Context, id placement.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.add("withdraw", string(id))
	delete(p.open, id)
	return nil
}

func (p *fakePorts) WithdrawOne(_ context.Context, id placement.ID, port placement.Port) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.add("withdraw", string(id), strconv.Itoa(int(port.Host)))
	return nil
}

func (p *fakePorts) Keep(_ context.Context, ids []placement.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.add("keep")
	for id := range p.open {
		if !slices.Contains(ids, id) {
			delete(p.open, id)
		}
	}
	return nil
}
