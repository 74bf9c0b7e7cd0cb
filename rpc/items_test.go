package rpc_test

import (
	"errors"
	"slices"
	"testing"

	"longshore/rpc"
)

// TestItems: a range loop has every item, then the error of the method if there
// is one, and may be left.
func TestItems(t *testing.T) {
	tr := rpc.Memory()
	at, stop := server(t, tr, "x", rpc.Config{Methods: house()})
	defer stop()
	l, err := rpc.Dial(within(t), tr, at, rpc.Config{})
	must(t, err)
	defer l.Close()
	open := func(args ...any) *rpc.Stream {
		s, err := l.Stream(within(t), "count", args...)
		must(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	var got []int
	for n, err := range rpc.Items[int](open(4)) {
		must(t, err)
		got = append(got, n)
	}
	if !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("items %v", got)
	}
	for n, err := range rpc.Items[int](open(4)) {
		must(t, err)
		if n == 1 {
			break
		}
	}
	var failed []error
	for _, err := range rpc.Items[int](open(3)) { // of an odd number it fails in the end
		failed = append(failed, err)
	}
	if remote := new(rpc.RemoteError); len(failed) != 4 || errors.Join(failed[:3]...) != nil || !errors.As(failed[3], &remote) {
		t.Errorf("of a stream that fails: %v", failed)
	}
}
