package rpc_test

import (
	"errors"
	"io"
	"testing"

	"longshore/rpc"
)

// TestStreamOfOneResult: a caller that does not know whether a method sends
// items or returns a result calls it by Stream.
func TestStreamOfOneResult(t *testing.T) {
	tr := rpc.Memory()
	at, stop := server(t, tr, "x", rpc.Config{Methods: house()})
	defer stop()
	l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
	must(t, err)
	defer l.Close()
	s, err := l.Stream(within(t), "add", 1, 2)
	must(t, err)
	if s.Single() {
		t.Error("single before its answer")
	}
	var sum int
	must(t, s.Next(&sum))
	if sum != 3 || !s.Single() {
		t.Errorf("%d, single %v", sum, s.Single())
	}
	for range 2 {
		if err := s.Next(nil); !errors.Is(err, io.EOF) {
			t.Errorf("then %v", err)
		}
	}
	must(t, s.Close())

	s, err = l.Stream(within(t), "echo", "text")
	must(t, err)
	if err := s.Next(&sum); err == nil || errors.Is(err, io.EOF) || s.Single() {
		t.Errorf("a result of another type: %v", err)
	}
	s, err = l.Stream(within(t), "count", 2)
	must(t, err)
	must(t, s.Next(nil))
	must(t, s.Next(nil))
	if err := s.Next(nil); !errors.Is(err, io.EOF) || s.Single() {
		t.Errorf("a stream: %v, single %v", err, s.Single())
	}
}
