package retryq_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
)

func openFile(tb testing.TB, path string) (*boltstore.Store, *retryq.Ledger) {
	tb.Helper()
	store, err := boltstore.Open(path, boltstore.Options{Reserve: -1})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := retryq.Open(tb.Context(), retryq.Config{Store: store})
	if err != nil {
		tb.Fatal(err)
	}
	return store, l
}

// The child of TestKilledLedgerLosesNothing: a ledger, four owners who submit,
// bind and remove, and a line for each thing that was acknowledged.
func TestChildLedger(t *testing.T) {
	path := os.Getenv("RETRYQ_CHILD")
	if path == "" {
		t.Log("this is a helper of another test")
		return
	}
	_, l := openFile(t, path)
	ctx := context.Background()
	go l.Run(ctx)
	reg, err := l.Register(ctx, placement.Register{V: 1, Cluster: l.Cluster(), Node: "n1", Session: 0})
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string)
	for i := range 4 {
		go func() {
			for n := 0; ; n++ {
				a := app(2)
				a.Owner, a.Name = fmt.Sprint("owner", i), fmt.Sprintf("r%s-%d", os.Getenv("RETRYQ_RUN"), n)
				if _, err := l.Submit(ctx, a); err != nil {
					panic(err)
				}
				said <- "submitted " + a.Owner + "/" + a.Name
				if n%3 == 0 {
					if _, err := l.Remove(ctx, a.Owner, a.Name); err != nil {
						panic(err)
					}
					said <- "removed " + a.Owner + "/" + a.Name
				}
			}
		}()
	}
	go func() {
		for op := uint64(1); ; op++ {
			try, err := l.Next(ctx)
			if err != nil {
				panic(err)
			}
			l.Settle(try, placement.Outcome{Taken: "n1"})
			answer, err := l.Bind(ctx, placement.Bind{Cluster: l.Cluster(), Node: "n1", ID: try.ID, Epoch: try.Epoch, Digest: try.Request.Digest(), At: placement.SessionOp{Session: reg.Session, Op: op}})
			if err != nil {
				panic(err)
			}
			if answer.Verdict == placement.VerdictYes {
				said <- fmt.Sprintf("bound %s %s", try.ID, try.Epoch)
			}
		}
	}()
	for line := range said {
		fmt.Println("acked", line)
	}
}

func TestKilledLedgerLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	acked := 0
	apps, removed, bound := make(map[string]bool), make(map[string]bool), make(map[string]string)
	for run := range 4 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildLedger$")
		child.Env = append(os.Environ(), "RETRYQ_CHILD="+path, fmt.Sprint("RETRYQ_RUN=", run))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) < 3 || words[0] != "acked" {
				continue
			}
			acked++
			switch words[1] {
			case "submitted":
				apps[words[2]] = true
			case "removed":
				removed[words[2]] = true
			case "bound":
				bound[words[2]] = words[3]
			}
			if kill == nil {
				kill = time.AfterFunc(time.Duration(50+rand.IntN(300))*time.Millisecond, func() { child.Process.Kill() })
			}
		}
		if err := child.Wait(); err == nil || kill == nil {
			t.Fatalf("the child ended by itself: %v", err)
		}
		judge(t, path, apps, removed, bound)
	}
	t.Logf("%d acknowledged: %d apps, %d removed, %d bound; 4 kills, none lost", acked, len(apps), len(removed), len(bound))
}

// judge opens the ledger after a kill and compares it with what was said.
func judge(t *testing.T, path string, apps, removed map[string]bool, bound map[string]string) {
	t.Helper()
	store, l := openFile(t, path)
	defer store.Close()
	list, err := l.Statuses(t.Context(), placement.Filter{All: true})
	if err != nil {
		t.Fatal(err)
	}
	wanted, epochs := make(map[string]int), make(map[string]string)
	for _, s := range list {
		if s.Wanted {
			wanted[s.Replica.Owner()+"/"+s.Replica.App()]++
		}
		if s.State == placement.Bound || s.State == placement.Cancelled {
			epochs[string(s.ID)] = string(s.Epoch)
		}
	}
	for a := range apps {
		if removed[a] && wanted[a] != 0 {
			t.Errorf("%s was removed and has %d wanted replicas", a, wanted[a])
		}
		var run, number int
		if _, err := fmt.Sscanf(a[strings.Index(a, "/")+1:], "r%d-%d", &run, &number); err != nil {
			t.Fatal(err)
		}
		maybe := number%3 == 0 && wanted[a] == 0 // removed, and killed before the answer
		if !removed[a] && !maybe && wanted[a] != 2 {
			t.Errorf("%s has %d of 2 replicas", a, wanted[a])
		}
	}
	for id, epoch := range bound {
		if epochs[id] != epoch {
			t.Errorf("%s was bound at %s, the ledger says %q", id, epoch, epochs[id])
		}
	}
}
