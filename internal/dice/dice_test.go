package dice_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"longshore/internal/dice"
)

// TestOrderDoesNotMatter: who throws gets the same, whoever threw before.
func TestOrderDoesNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := dice.New(rand.New(rand.NewPCG(1, 2))), dice.New(rand.New(rand.NewPCG(1, 2)))
		first, second := a.Unit("n1"), a.Unit("n2")
		if x, y := b.Unit("n2"), b.Unit("n1"); x != second || y != first {
			t.Errorf("thrown as n1, n2: %v %v; as n2, n1: %v %v", first, second, y, x)
		}
		if first == second {
			t.Error("two who throw get the same")
		}
		time.Sleep(time.Nanosecond)
		if a.Unit("n1") == first {
			t.Error("a nanosecond later the same comes")
		}
	})
}

// TestSpread: many throws are uniform, whoever throws them and whenever.
func TestSpread(t *testing.T) {
	d := dice.New(nil)
	var tenths [10]int
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, who := range []string{"a", "b", "alice/shop/web/1", "alice/shop/web/2"} {
		all.Go(func() {
			for range 5000 {
				u := d.Unit(who)
				if most := 3 * time.Second; d.UpTo(most, who) >= most {
					t.Error("not below the most")
				}
				mu.Lock()
				tenths[int(u*10)]++
				mu.Unlock()
				for since := time.Now(); time.Since(since) < time.Microsecond; {
				}
			}
		})
	}
	all.Wait()
	for i, n := range tenths {
		if n < 1600 || n > 2400 {
			t.Errorf("tenth %d came %d times of 20000", i, n)
		}
	}
}
