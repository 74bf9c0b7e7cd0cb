package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/retryq"
	"longshore/retryq/boltstore"
	"longshore/retryq/storetest"
)

func open(t *testing.T, path string, o boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) retryq.Store {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "ledger"), boltstore.Options{Reserve: 4096})
	})
}

func TestReopenedStoreGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	s := open(t, path, boltstore.Options{Reserve: -1})
	rev, err := s.Commit(t.Context(), retryq.Txn{Put: []retryq.Put{{Key: "p/a", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), retryq.Txn{Delete: []string{"p/a"}}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, path, boltstore.Options{Reserve: -1})
	next, err := s.Commit(t.Context(), retryq.Txn{Put: []retryq.Put{{Key: "p/a", Value: []byte("2")}}})
	if err != nil || next <= rev+1 {
		t.Errorf("revision %d follows %d over a restart, %v", next, rev+1, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	open(t, path, boltstore.Options{Reserve: -1})
	_, err := boltstore.Open(path, boltstore.Options{Reserve: -1})
	var told *placement.Error
	if !errors.As(err, &told) || told.Kind != placement.KindRefused {
		t.Errorf("second open: %v, want a refusal that says why", err)
	}
}

// The child of TestKilledStoreLosesNothing: it commits for ever and tells each
// acknowledged key.
func TestChildWrites(t *testing.T) {
	path, run := os.Getenv("BOLTSTORE_CHILD"), os.Getenv("BOLTSTORE_RUN")
	if path == "" {
		t.Log("this is a helper of another test")
		return
	}
	s, err := boltstore.Open(path, boltstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	acked := make(chan string)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("p/%s/%d/%d", run, w, i)
				txn := retryq.Txn{Put: []retryq.Put{{Key: key, Value: make([]byte, 500)}, {Key: "r" + key[1:], Value: []byte("x")}}}
				if _, err := s.Commit(context.Background(), txn); err != nil {
					panic(err)
				}
				acked <- key
			}
		}()
	}
	for key := range acked {
		fmt.Println("acked", key)
	}
}

func TestKilledStoreLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	var acked []string
	for run := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildWrites$")
		child.Env = append(os.Environ(), "BOLTSTORE_CHILD="+path, fmt.Sprint("BOLTSTORE_RUN=", run))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			key, ok := strings.CutPrefix(lines.Text(), "acked ")
			if !ok {
				continue
			}
			acked = append(acked, key)
			if kill == nil {
				kill = time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { child.Process.Kill() })
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		if kill == nil {
			t.Fatal("the child wrote nothing")
		}
		s := open(t, path, boltstore.Options{Reserve: -1})
		for _, key := range acked {
			if items, err := s.Get(t.Context(), key, "r"+key[1:]); err != nil || items[0].Rev == 0 || items[0].Rev != items[1].Rev {
				t.Fatalf("run %d: acknowledged %s is lost or torn: %v, %v", run, key, items, err)
			}
		}
		s.Close()
	}
	t.Logf("%d acknowledged writes, 5 kills, none lost", len(acked))
}

func TestFullDiskStillTakesCancels(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatalf("mount a small disk: %v (this test needs root)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "ledger")
	s := open(t, path, boltstore.Options{Reserve: 2 << 20})
	grow := func(i int) error {
		_, err := s.Commit(t.Context(), retryq.Txn{Growth: true, Put: []retryq.Put{{Key: fmt.Sprint("p/", i), Value: make([]byte, 50_000)}}})
		return err
	}
	n := 0
	for ; n < 1000; n++ {
		if err := grow(n); errors.Is(err, retryq.ErrFull) {
			break
		} else if err != nil {
			t.Fatalf("write %d: %v, want ErrFull", n, err)
		}
	}
	if n == 1000 {
		t.Fatal("the disk never got full")
	}
	for i := range 20 {
		if _, err := s.Commit(t.Context(), retryq.Txn{Put: []retryq.Put{{Key: fmt.Sprint("p/", i), Value: []byte("cancelled")}}}); err != nil {
			t.Fatalf("cancel %d on a full disk: %v", i, err)
		}
	}
	if err := grow(n); !errors.Is(err, retryq.ErrFull) {
		t.Errorf("growth without reserve: %v, want ErrFull", err)
	}
	for i := range n {
		items, err := s.Get(t.Context(), fmt.Sprint("p/", i))
		if err != nil || items[0].Rev == 0 {
			t.Fatalf("acknowledged write %d is lost: %v", i, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
