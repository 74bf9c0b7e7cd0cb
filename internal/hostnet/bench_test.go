package hostnet_test

import (
	"fmt"
	"testing"

	"longshore/internal/hostnet"
)

func BenchmarkEnsureNewUser(b *testing.B) {
	n := newNet(b, hostnet.Config{})
	for i := 0; b.Loop(); i++ {
		owner := fmt.Sprintf("owner%d", i)
		ensure(b, n, owner)
		b.StopTimer()
		if err := n.RemoveUser(b.Context(), owner); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkEnsureUserThatIsThere(b *testing.B) {
	n := newNet(b, hostnet.Config{})
	ensure(b, n, "alice")
	for b.Loop() {
		ensure(b, n, "alice")
	}
}

// BenchmarkExpose adds a host port, and moves one, beside others that are there.
func BenchmarkExpose(b *testing.B) {
	for _, there := range []int{0, 200} {
		for _, way := range []string{"added", "moved"} {
			b.Run(fmt.Sprintf("%s beside %d", way, there), func(b *testing.B) {
				n := newNet(b, hostnet.Config{})
				u := ensure(b, n, "alice")
				to := u.NetContainer.String() + ":80"
				for i := range there {
					expose(b, n, fmt.Sprintf("there%d", i), fmt.Sprintf("%s:%d", u.Gateway, 9000+i), to)
				}
				for i := 0; b.Loop(); i++ {
					expose(b, n, "new", fmt.Sprintf("%s:%d", u.Gateway, 20000+i%2), to)
					if way == "moved" {
						continue
					}
					b.StopTimer()
					if err := n.Withdraw(b.Context(), "new"); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}

func BenchmarkRepair(b *testing.B) {
	n := newNet(b, hostnet.Config{})
	ensure(b, n, "alice")
	for b.Loop() {
		if err := n.Repair(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
