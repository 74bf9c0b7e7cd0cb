package retryq_test

import (
	"testing"
	"time"

	"longshore/internal/placement"
)

func (w *world) lose(n placement.NodeID, silent time.Duration, hostAnswers bool) int {
	w.t.Helper()
	lost, _, err := w.l.Lose(w.t.Context(), placement.Silence{Node: n, For: placement.Millis(silent.Milliseconds()), HostAnswers: hostAnswers, Max: 100})
	if err != nil {
		w.t.Fatalf("lose %s: %v", n, err)
	}
	return lost
}

func TestSilenceReplacesAndAdopts(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1, n2 := w.node("n1"), w.node("n2")
		w.submit(app(1))
		w.place(n1)
		if n := w.lose("n1", 29*time.Second, false); n != 0 {
			t.Fatalf("%d lost before the grace", n)
		}
		if n := w.lose("n1", 100*time.Second, true); n != 0 {
			t.Fatalf("%d lost though the host answers", n)
		}
		if n := w.lose("n1", 31*time.Second, false); n != 1 {
			t.Fatalf("%d lost", n)
		}
		w.expect(web1, placement.Pending, "")
		// It comes back before another node was bound: adopted, nothing stopped.
		if orders := n1.list(); len(orders) != 0 {
			t.Fatalf("orders: %v", orders)
		}
		w.expect(web1, placement.Running, "n1")
		// Again, and now n2 is bound meanwhile: the copy on n1 is stopped.
		w.lose("n1", 301*time.Second, true)
		old := n1.copies
		second := w.place(n2)
		w.expect(web1, placement.Running, "n2")
		n1.copies = old
		if orders := n1.list(); len(orders) != 1 || orders[0].Epoch >= second.Epoch {
			t.Fatalf("orders: %v", orders)
		}
		if orders := n1.list(); len(orders) != 0 || len(n1.copies) != 0 {
			t.Fatalf("orders: %v", orders)
		}
		w.expect(web1, placement.Running, "n2")
	})
}

func TestOwnLostAfter(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1, func(r *placement.Request) { r.LostAfter = 5000 }))
		w.place(n1)
		if n := w.lose("n1", 6*time.Second, true); n != 0 {
			t.Errorf("%d lost though the host answers", n)
		}
		if n := w.lose("n1", 6*time.Second, false); n != 1 {
			t.Errorf("%d lost after its own lost_after", n)
		}
	})
}

func TestAbsenceNeedsProof(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		try := w.place(n1)
		delete(n1.copies, try.ID)
		unproven := func(why string, change func(*placement.Report)) {
			t.Helper()
			r := n1.full()
			change(&r)
			n1.report(r)
			if s := w.status(web1); s.State != placement.Running {
				t.Fatalf("%s: %s (%s)", why, s.State, s.Why)
			}
		}
		unproven("not complete", func(r *placement.Report) { r.Full = false })
		unproven("no op file", func(r *placement.Report) { r.At = nil })
		unproven("an older op", func(r *placement.Report) { r.At.Op-- })
		unproven("an older session", func(r *placement.Report) { r.At.Session--; r.At.Op = 99 })
		unproven("a session this ledger never gave", func(r *placement.Report) { r.At.Session += 5 })
		unproven("a daemon that could not be listed", func(r *placement.Report) { r.Daemons[0].OK = false })
		unproven("a daemon that is not named", func(r *placement.Report) { r.Daemons = r.Daemons[1:] })
		unproven("another data-root", func(r *placement.Report) { r.Daemons[0].Root = "another" })
		n1.list()
		w.expect(web1, placement.Pending, "")
	})
}

func TestAnotherDataRootIsSilence(t *testing.T) {
	onBoth(t, func(w *world) {
		n1 := w.node("n1")
		w.submit(app(1))
		try := w.place(n1)
		delete(n1.copies, try.ID)
		other := func() {
			r := n1.full()
			r.Daemons[0].Root = "another"
			n1.report(r)
		}
		other()
		time.Sleep(29 * time.Second)
		other()
		w.expect(web1, placement.Running, "n1")
		time.Sleep(2 * time.Second)
		other()
		w.expect(web1, placement.Pending, "")
		other() // nothing is bound there any more: the new root is taken
		w.place(n1)
		delete(n1.copies, try.ID)
		other()
		w.expect(web1, placement.Pending, "")
	})
}

func TestReportsOutOfOrderAreDropped(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		try := w.mustNext()
		old := n1.full()
		old.V, old.Cluster, old.Node, old.Link, old.Seq = 1, w.l.Cluster(), "n1", n1.link, n1.seq+1
		n1.seq++
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		n1.bind(try)
		old.At = new(n1.at)
		n1.list()
		if _, _, err := w.l.Report(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		w.expect(web1, placement.Running, "n1")
		link := n1.link
		n1.openLink()
		old.Link, old.Seq = link, 99
		if _, _, err := w.l.Report(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		w.expect(web1, placement.Running, "n1")
		old.Link = n1.link + 1
		if _, _, err := w.l.Report(t.Context(), old); !isKind(err, placement.KindRegister) {
			t.Errorf("a link never opened: %v", err)
		}
	})
}

func TestSameListing(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		n1.seq++
		a, _, err := w.l.Report(t.Context(), placement.Report{V: 1, Cluster: w.l.Cluster(), Node: "n1", Link: n1.link, Seq: n1.seq, Full: true, Same: "none", At: new(n1.at)})
		if err != nil || !a.Resend {
			t.Errorf("a digest never seen: %+v, %v", a, err)
		}
	})
}

func TestStartTimeout(t *testing.T) {
	onBoth(t, func(w *world) {
		n1 := w.node("n1")
		w.submit(app(1))
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		n1.bind(try)
		w.expect(web1, placement.Bound, "n1")
		time.Sleep(59 * time.Second)
		w.expect(web1, placement.Bound, "n1")
		time.Sleep(3 * time.Second)
		w.expect(web1, placement.Pending, "")
		n1.list() // it runs after all: adopted
		w.expect(web1, placement.Running, "n1")
		time.Sleep(time.Hour)
		w.expect(web1, placement.Running, "n1")
	})
}

func TestFailedStartBacksOffAlone(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(2))
		try := w.mustNext()
		w.l.Settle(try, placement.Outcome{Taken: "n1"})
		n1.bind(try)
		delete(n1.copies, try.ID)
		n1.at.Op++
		err := w.l.Failed(t.Context(), placement.Failed{Cluster: w.l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, At: n1.at, Reason: placement.Reason{Code: placement.ReasonStart, Text: "no such command"}})
		if err != nil {
			t.Fatal(err)
		}
		if s := w.status(web1); s.State != placement.Pending || s.Why == "" || s.NextTry == 0 || len(s.Refusals) != 1 {
			t.Errorf("after a refused start: %+v", s)
		}
		w.l.MoreRoom("n1", placement.Resources{CPU: 1 << 20, Memory: 1 << 40, Disk: 1 << 40}) // which is not what it waits for
		begun := time.Now()
		if second := w.mustNext(); second.ID.Replica() != web2 || time.Since(begun) != 0 {
			t.Errorf("%s is due after %s: a broken one holds up another", second.ID, time.Since(begun))
		}
		if again := w.mustNext(); again.ID != try.ID || again.Epoch <= try.Epoch {
			t.Errorf("%s at %s is due after %s", again.ID, again.Epoch, try.Epoch)
		}
		if waited := time.Since(begun); waited < time.Second {
			t.Errorf("it is due again after %s", waited)
		}
	})
}

func TestDeadOfFinalReasons(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		w.node("n1")
		w.node("n2")
		w.submit(app(1))
		try := w.mustNext()
		none := placement.Reason{Code: placement.ReasonImage, Text: "no such image", Final: true}
		w.l.Settle(try, placement.Outcome{Asked: 1, Passes: []placement.Pass{{Node: "n1", Reason: none}}})
		time.Sleep(1500 * time.Millisecond)
		w.expect(web1, placement.Pending, "")
		try = w.mustNext()
		w.l.Settle(try, placement.Outcome{Asked: 1, Passes: []placement.Pass{{Node: "n2", Reason: none}}})
		time.Sleep(1500 * time.Millisecond)
		w.expect(web1, placement.Dead, "")
		retried, err := w.l.Retry(t.Context(), placement.Filter{Replica: web1})
		if err != nil || len(retried) != 1 {
			t.Fatalf("retry: %v, %v", retried, err)
		}
		if again := w.mustNext(); again.Epoch <= try.Epoch {
			t.Errorf("retried at %s after %s", again.Epoch, try.Epoch)
		}
	})
}

func TestDeadline(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		a := app(2, ha)
		a.Services[0].Deadline = placement.Millis(time.Hour.Milliseconds())
		w.submit(a)
		w.place(n1)
		time.Sleep(30 * time.Minute)
		w.restart()
		n1.register()
		n1.list()
		time.Sleep(29 * time.Minute)
		w.expect(web2, placement.Pending, "")
		time.Sleep(3 * time.Minute)
		w.expect(web2, placement.Dead, "")
		w.expect(web1, placement.Running, "n1")
		if _, err := w.l.Retry(t.Context(), placement.Filter{Replica: web2}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		w.expect(web2, placement.Pending, "")
		time.Sleep(2 * time.Minute)
		w.expect(web2, placement.Dead, "")
	})
}

func TestExits(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1))
		try := w.place(n1)
		exit := func() placement.BindAnswer {
			n1.at.Op++
			code := 1
			c := n1.copies[try.ID]
			c.State, c.Exit = placement.CopyExited, 1
			n1.copies[try.ID] = c
			n1.report(placement.Report{At: new(n1.at), Copies: []placement.Copy{c}})
			return n1.ask(placement.Bind{ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: n1.at, Exit: &code})
		}
		startAgain := func() {
			c := n1.copies[try.ID]
			c.State = placement.CopyRunning
			n1.copies[try.ID] = c
			n1.at.Op++
			n1.list()
			w.expect(web1, placement.Running, "n1")
		}
		if a := exit(); a.Verdict != placement.VerdictYes {
			t.Fatalf("first exit: %+v", a)
		}
		w.expect(web1, placement.Bound, "n1")
		startAgain()
		for i := range 12 {
			a := exit()
			if a.Verdict != placement.VerdictWait || a.Wait <= 0 || a.Wait.Duration() > 375*time.Second {
				t.Fatalf("exit %d: %+v", i, a)
			}
			time.Sleep(a.Wait.Duration())
			if a = exit(); a.Verdict != placement.VerdictYes {
				t.Fatalf("exit %d after the wait: %+v", i, a)
			}
			startAgain()
		}
		if s := w.status(web1); s.ExitCode != 1 {
			t.Errorf("exit code %d", s.ExitCode)
		}
		time.Sleep(11 * time.Minute)
		if a := exit(); a.Verdict != placement.VerdictYes {
			t.Errorf("an exit after running for long: %+v", a)
		}
		startAgain()
		if a := exit(); a.Verdict != placement.VerdictWait || a.Wait > 1500 {
			t.Errorf("the exit after that: %+v", a)
		}
	})
}

func TestDone(t *testing.T) {
	onBoth(t, func(w *world) {
		t := w.t
		n1 := w.node("n1")
		w.submit(app(1, func(r *placement.Request) { r.Restart = placement.RestartNo }))
		try := w.place(n1)
		n1.at.Op++
		code := 0
		a := n1.ask(placement.Bind{ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: n1.at, Exit: &code})
		if a.Verdict != placement.VerdictDone {
			t.Fatalf("exit: %+v", a)
		}
		n1.copies[try.ID] = placement.Copy{ID: try.ID, Epoch: try.Epoch, State: placement.CopyExited}
		if orders := n1.list(); len(orders) != 0 {
			t.Errorf("orders: %v", orders)
		}
		w.restart()
		if s := w.status(web1); s.State != placement.Done || s.ExitCode != 0 || s.Why != "exit code 0" {
			t.Errorf("done: %+v", s)
		}
		if again := w.submit(app(1, func(r *placement.Request) { r.Restart = placement.RestartNo })); !again.Unchanged {
			t.Errorf("submitted again: %+v", again)
		}
		if _, err := w.l.Remove(t.Context(), "alice", "shop"); err != nil {
			t.Fatal(err)
		}
		n1.register()
		n1.list() // ends the hold
		if orders := n1.list(); len(orders) != 1 {
			t.Errorf("the copy of a removed placement is not removed: %v", orders)
		}
	})
}
