package hostinfo

import (
	"context"
	"fmt"
	"sync"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/mem"
)

// Machine reads the figures of the machine it runs on.
type Machine struct {
	dir string

	mu          sync.Mutex
	busy, total float64 // seconds of CPU at the last call
}

// NewMachine reads the disk figures of the file system that dir, the node's
// state directory, lies on.
func NewMachine(dir string) *Machine { return &Machine{dir: dir} }

// Figures reads them now. CPUPercent is the mean since the call before, or
// since the boot at the first.
func (m *Machine) Figures(ctx context.Context) (Figures, error) {
	cores, err := cpu.CountsWithContext(ctx, true)
	if err != nil {
		return Figures{}, fmt.Errorf("count cores: %w", err)
	}
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return Figures{}, fmt.Errorf("read CPU times: %w", err)
	}
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return Figures{}, fmt.Errorf("read memory: %w", err)
	}
	fs, err := disk.UsageWithContext(ctx, m.dir)
	if err != nil {
		return Figures{}, fmt.Errorf("read disk of %s: %w", m.dir, err)
	}
	return Figures{
		Cores:           cores,
		CPUPercent:      m.percent(times),
		Memory:          int64(memory.Total),
		MemoryAvailable: int64(memory.Available),
		Disk:            int64(fs.Total),
		DiskFree:        int64(fs.Free),
	}, nil
}

func (m *Machine) percent(times []cpu.TimesStat) float64 {
	var busy, total float64
	for _, t := range times {
		work := t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
		busy += work
		total += work + t.Idle + t.Iowait
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, t := busy-m.busy, total-m.total
	m.busy, m.total = busy, total
	if t <= 0 {
		return 0
	}
	return min(max(100*b/t, 0), 100)
}
