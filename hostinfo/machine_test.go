package hostinfo_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"longshore/hostinfo"
	"longshore/internal/placement"
)

func TestMachineTellsThisMachine(t *testing.T) {
	m := hostinfo.NewMachine(t.TempDir())
	f, err := m.Figures(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	if want := int64(info.Totalram) * int64(info.Unit); f.Memory < want*99/100 || f.Memory > want*101/100 {
		t.Errorf("memory %d, the kernel says %d", f.Memory, want)
	}
	if f.Cores < 1 || f.MemoryAvailable <= 0 || f.MemoryAvailable > f.Memory || f.DiskFree <= 0 || f.DiskFree > f.Disk {
		t.Errorf("figures %+v", f)
	}
	if _, err := hostinfo.NewMachine("/nowhere/at/all").Figures(t.Context()); err == nil {
		t.Error("a directory that is not there has figures")
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		end := time.Now().Add(50 * time.Millisecond)
		for time.Now().Before(end) { // keep a core busy
		}
		again, err := m.Figures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again.CPUPercent > 5 && again.CPUPercent <= 100 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("CPU %v %% with a core kept busy", again.CPUPercent)
		}
	}
}

func TestCapacity(t *testing.T) {
	total := hostinfo.Figures{Cores: 4, Memory: 16 << 30, Disk: 200 << 30}.Total()
	for name, c := range map[string]struct{ configured, total, want placement.Resources }{
		"detected":   {placement.Resources{}, total, placement.Resources{CPU: 4000, Memory: 16<<30 - 16<<30/20, Disk: 190 << 30}},
		"configured": {placement.Resources{CPU: 1500, Memory: 1 << 30, Disk: 5 << 30}, total, placement.Resources{CPU: 1500, Memory: 1 << 30, Disk: 5 << 30}},
		"partly":     {placement.Resources{Memory: 1 << 30}, total, placement.Resources{CPU: 4000, Memory: 1 << 30, Disk: 190 << 30}},
		"tiny":       {placement.Resources{}, placement.Resources{CPU: 1000, Memory: 400 << 20, Disk: 1 << 30}, placement.Resources{CPU: 1000, Memory: 200 << 20, Disk: 1 << 29}},
	} {
		if got := hostinfo.Capacity(c.configured, c.total, hostinfo.Reserve(c.total)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestProbe(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := hostinfo.TCPProber{Port: l.Addr().(*net.TCPAddr).Port, Timeout: 200 * time.Millisecond}
	if !p.Answers(t.Context(), "127.0.0.1") {
		t.Error("a host that accepts does not answer")
	}
	_ = l.Close()
	if !p.Answers(t.Context(), "127.0.0.1") {
		t.Error("a host that refuses does not answer")
	}
	// Loopback has no other hosts; a full backlog is as silent as one.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	p.Port = name.(*unix.SockaddrInet4).Port
	mute := false
	for range 10 {
		fill, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fill) }()
		_ = unix.Connect(fill, name) // in progress
		began := time.Now()
		mute = !p.Answers(t.Context(), "127.0.0.1")
		if took := time.Since(began); took > time.Second {
			t.Fatalf("a probe took %v", took)
		}
		if mute {
			break
		}
	}
	if !mute {
		t.Error("a host that says nothing answers")
	}
	if p.Answers(t.Context(), "no such name") {
		t.Error("a host without an address answers")
	}
}

func TestSuspend(t *testing.T) {
	before, err := hostinfo.Asleep()
	if err != nil || before < 0 {
		t.Fatalf("asleep for %v, %v", before, err)
	}
	for range 10_000 {
		now, err := hostinfo.Asleep()
		if err != nil {
			t.Fatal(err)
		}
		if hostinfo.Slept(before, now) {
			t.Fatalf("slept from %v to %v, in a test", before, now)
		}
	}
	if !hostinfo.Slept(before, before+time.Second) || hostinfo.Slept(before, before+100*time.Millisecond) {
		t.Error("a second of sleep is sleep, a tenth is the clocks' noise")
	}
}

func TestTiming(t *testing.T) {
	if lo, hi := hostinfo.Jitter(5*time.Second, 0), hostinfo.Jitter(5*time.Second, 0.999); lo != 4500*time.Millisecond || hi < 5490*time.Millisecond || hi > 5500*time.Millisecond {
		t.Errorf("5 s, give or take: %v to %v", lo, hi)
	}
	for n, most := range map[int]time.Duration{0: 100 * time.Millisecond, 1: 200 * time.Millisecond, 5: 3200 * time.Millisecond, 6: 5 * time.Second, 1000: 5 * time.Second} {
		if got := hostinfo.Backoff(n, 0.5); got != most/2 {
			t.Errorf("after %d failures %v, want half of %v", n, got, most)
		}
	}
}
