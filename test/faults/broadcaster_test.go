package faults_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// broadcasterKinds: what befalls the broadcaster and its ledger. What runs runs
// on, and what was accepted is not forgotten.
func broadcasterKinds() []kind {
	return []kind{
		{row: "kill -9 while placing", times: 18, busy: true, still: true, inject: broadcasterKilled},
		{row: "restarted while placing", times: 6, busy: true, still: true, inject: broadcasterRestarted},
		{row: "kill -9 of it, an agentd and Redis at once", times: 6, busy: true, still: true, inject: severalKilled},
		{row: "kill -9 of everything of Longshore", times: 4, busy: true, still: true, inject: allKilled},
		{row: "paused 5 s", times: 6, busy: true, still: true, inject: broadcasterPaused(5 * time.Second)},
		{row: "paused 30 s", times: 2, busy: true, still: true, inject: broadcasterPaused(30 * time.Second)},
		{row: "paused 90 s", times: 1, busy: true, still: true, inject: broadcasterPaused(90 * time.Second)},
		{row: "second one on the same ledger", times: 6, still: true, inject: secondBroadcaster},
		{row: "ledger file truncated", times: 6, still: true, inject: truncated},
		{row: "ledger file with torn pages", times: 6, still: true, inject: torn},
		{row: "ledger's disk full", times: 4, still: true, options: cluster.Options{LedgerDisk: 256}, inject: ledgerFull},
		{row: "old ledger file copied back", times: 3, still: true, inject: copiedBack},
		{row: "removed at every step", times: 20, still: true, inject: removed},
	}
}

func broadcasterKilled(s *stage) func() {
	s.c.Broadcaster.Kill()
	s.cut()
	return func() { s.c.Broadcaster.Start(); s.uncut() }
}

func broadcasterRestarted(s *stage) func() {
	s.c.Broadcaster.Stop()
	s.cut()
	return func() { s.c.Broadcaster.Start(); s.uncut() }
}

func severalKilled(s *stage) func() {
	n := s.node()
	s.cut()
	s.c.Broadcaster.Kill()
	n.Agent.Kill()
	s.c.Redis.Kill()
	return func() {
		s.c.Redis.Start()
		n.Agent.Start()
		s.c.Broadcaster.Start()
		s.redisAnswers()
		s.uncut()
	}
}

func allKilled(s *stage) func() {
	s.cut()
	s.c.Broadcaster.Kill()
	s.c.Redis.Kill()
	for _, n := range s.c.Nodes {
		n.Agent.Kill()
		n.Hostinfo.Kill()
	}
	return func() {
		s.c.Redis.Start()
		s.c.Broadcaster.Start()
		for _, n := range s.c.Nodes {
			n.Agent.Start()
			n.Hostinfo.Start()
		}
		s.redisAnswers()
		s.uncut()
	}
}

func broadcasterPaused(d time.Duration) func(*stage) func() {
	return func(s *stage) func() {
		s.cut()
		s.c.Broadcaster.Signal(syscall.SIGSTOP)
		s.lasts(d)
		return func() { s.c.Broadcaster.Signal(syscall.SIGCONT); s.uncut() }
	}
}

// refuses starts a broadcaster that must end by itself, and say this.
func (s *stage) refuses(want string) {
	s.t.Helper()
	p := s.c.Broadcaster.Another("refused")
	p.Start()
	defer p.Kill()
	s.see("the broadcaster refuses to start", func() error {
		if p.Running() {
			return errNotYet
		}
		return nil
	})
	if !strings.Contains(p.Tail(), want) {
		s.t.Errorf("the broadcaster does not say %q: %s", want, p.Tail())
	}
}

func secondBroadcaster(s *stage) func() {
	s.refuses("another")
	return nil
}

func (s *stage) ledger() string { return filepath.Join(s.c.Dir, "broadcaster", "ledger.db") }

// truncated: it refuses to start, says why, and starts with the whole file.
func truncated(s *stage) func() {
	return s.damaged(func(b []byte) []byte { return b[:s.rand.IntN(len(b)/4096)*4096+s.rand.IntN(4096)] })
}

// torn: what is left of each page in the file is its first sector.
func torn(s *stage) func() {
	return s.damaged(func(b []byte) []byte {
		for page := 0; page < len(b); page += 4096 {
			clear(b[page+512 : min(page+4096, len(b))])
		}
		return b
	})
}

func (s *stage) damaged(harm func([]byte) []byte) func() {
	s.cut()
	s.c.Broadcaster.Kill()
	whole, err := os.ReadFile(s.ledger())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.ledger(), harm(append([]byte(nil), whole...)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.refuses("ledger")
	return func() {
		if err := os.WriteFile(s.ledger(), whole, 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.c.Broadcaster.Start()
		s.uncut()
	}
}

// copiedBack: the file of before a change is put back after it. What runs is
// taken in as it is.
func copiedBack(s *stage) func() {
	s.cut()
	s.c.Broadcaster.Stop()
	old, err := os.ReadFile(s.ledger())
	if err != nil {
		s.t.Fatal(err)
	}
	s.c.Broadcaster.Start()
	s.uncut()
	s.c.WaitReady(len(s.c.Nodes))
	s.change()
	s.answered()
	s.rest("after the change")
	s.cut()
	s.c.Broadcaster.Kill()
	if err := os.WriteFile(s.ledger(), old, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return func() { s.c.Broadcaster.Start(); s.uncut() }
}

// removed: an app is removed so many milliseconds after it was submitted, from
// the first step of its placements to the last. Nothing of it is left.
func removed(s *stage) func() {
	a := app{owner: "alice", name: fmt.Sprintf("brief%d", s.number)}
	if err := s.load.submit(s.ctx, a, 0); err != nil {
		s.t.Fatal(err)
	}
	s.lasts(time.Duration(s.number%20) * 100 * time.Millisecond)
	if err := s.load.remove(s.ctx, a); err != nil {
		s.t.Fatal(err)
	}
	took := s.see("nothing of it is left", func() error {
		for _, seen := range s.c.Look().Seen {
			if seen.ID.Replica().App() == a.name {
				return fmt.Errorf("%s is on %s", seen.ID, seen.Node)
			}
		}
		var left []placement.Status
		if err := s.c.Call("status", &left, placement.Filter{Owner: a.owner, App: a.name}); err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("the ledger shows %s as %s", left[0].ID, left[0].State)
		}
		return nil
	})
	s.longest("gone after", took)
	return nil
}

// ledgerFull: new work is refused with the reason, a removal is taken, and what
// runs runs on.
func ledgerFull(s *stage) func() {
	kept := app{owner: "alice", name: s.name("kept")}
	if err := s.load.submit(s.ctx, kept, 0); err != nil {
		s.t.Fatal(err)
	}
	free := s.c.FillLedger()
	number := 0
	s.see("a submit is refused as the disk is full", func() error {
		number++ // the file still has free pages
		a := app{owner: "alice", name: fmt.Sprintf("%s-%d", s.name("much"), number)}
		wide := a.version(0)
		for i := range wide.Services {
			wide.Services[i].Replicas = 1000
			wide.Services[i].Request.Needs.CPU = 900_000 // fits nowhere
		}
		err := s.c.Call("submit", nil, wide)
		if err == nil || !strings.Contains(err.Error(), "disk is full") {
			return fmt.Errorf("submit %d: %w", number, err)
		}
		return nil
	})
	if err := s.load.remove(s.ctx, kept); err != nil {
		s.t.Errorf("a removal on a full disk: %v", err)
	}
	return func() {
		free()
		for i := 1; i <= number; i++ {
			_ = s.c.Call("remove", nil, placement.Filter{Owner: "alice", App: fmt.Sprintf("%s-%d", s.name("much"), i)}) // it may not be there
		}
		s.see("new work is taken", func() error {
			return s.c.Call("submit", nil, app{owner: "alice", name: s.name("kept")}.version(1))
		})
		if err := s.load.remove(s.ctx, kept); err != nil {
			s.t.Error(err)
		}
	}
}
