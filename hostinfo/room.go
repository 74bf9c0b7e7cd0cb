package hostinfo

import (
	"longshore/internal/placement"
)

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// Figures are what the machine says about itself, whoever uses it.
type Figures struct {
	Cores           int     `json:"cores"`
	CPUPercent      float64 `json:"cpu_percent"`      // of all cores, the mean since the measurement before
	Memory          int64   `json:"memory"`           // bytes
	MemoryAvailable int64   `json:"memory_available"` // bytes the kernel could hand out; a floor, never the room
	Disk            int64   `json:"disk"`             // bytes of the file system of the state directory
	DiskFree        int64   `json:"disk_free"`        // bytes of it that are free
}

// Total is the whole machine as resources.
func (f Figures) Total() placement.Resources {
	return placement.Resources{CPU: int64(f.Cores) * 1000, Memory: f.Memory, Disk: f.Disk}
}

// Reserve is what is kept for the system where nothing is configured: no CPU
// (it is shared by weight), 5 % of memory and of disk, at least 256 MiB and
// 1 GiB, and never more than half.
func Reserve(total placement.Resources) placement.Resources {
	part := func(total, least int64) int64 { return min(total/2, max(total/20, least)) }
	return placement.Resources{Memory: part(total.Memory, 256*mebi), Disk: part(total.Disk, gibi)}
}

// Capacity is what a node has for placements: what is configured, and where
// that is 0, what the machine has minus what is kept for the system.
func Capacity(configured, total, reserve placement.Resources) placement.Resources {
	left := total.Minus(reserve)
	pick := func(configured, left int64) int64 {
		if configured > 0 {
			return configured
		}
		return max(left, 0)
	}
	return placement.Resources{
		CPU:    pick(configured.CPU, left.CPU),
		Memory: pick(configured.Memory, left.Memory),
		Disk:   pick(configured.Disk, left.Disk),
	}
}

// promise is what the copies of one owner need.
type promise struct {
	needs  placement.Resources
	copies int
}

// promises sums up the needs of the copies listed, by owner. A daemon that
// could not be listed proves no copy gone, so its last sum stands.
func promises(before map[string]promise, l Listing) map[string]promise {
	now := map[string]promise{}
	for _, c := range l.Copies {
		p := now[c.ID.Owner()]
		now[c.ID.Owner()] = promise{p.needs.Plus(c.Needs), p.copies + 1}
	}
	for _, d := range l.Daemons {
		if old, ok := before[d.Owner]; ok && !d.OK {
			now[d.Owner] = old
		}
	}
	return now
}

// roomOf is how full a node is. Where the machine itself runs short, whoever
// uses it up, no more is shown as free than there is: of disk, what is free
// minus the promises not yet used; of memory, nothing once less than a
// fiftieth (at least 64 MiB) is available.
func roomOf(capacity placement.Resources, promised map[string]promise, used placement.Resources, f Figures) placement.Room {
	room := placement.Room{Capacity: capacity, Used: used}
	for _, p := range promised {
		room.Promised = room.Promised.Plus(p.needs)
		room.Copies += p.copies
	}
	if f.Memory > 0 && f.MemoryAvailable < max(f.Memory/50, 64*mebi) {
		room.Capacity.Memory = min(room.Capacity.Memory, room.Promised.Memory)
	}
	if f.Disk > 0 {
		owed := max(room.Promised.Disk-used.Disk, 0)
		room.Capacity.Disk = min(room.Capacity.Disk, room.Promised.Disk+max(f.DiskFree-owed, 0))
	}
	return room
}
