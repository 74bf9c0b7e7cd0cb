package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"longshore/internal/placement"
)

// Ports that the agent chooses itself, when it is asked for any.
const (
	firstLate = 20_000
	lastLate  = 29_999
)

// late remembers, over restarts, the host ports that copies were given while
// they ran. What it says of a copy that is gone means nothing, and goes with
// the next write.
type late struct {
	path string
	pen  pen // of whoever changes them and the file

	mu     sync.Mutex
	copies map[placement.ID]latePorts
}

type latePorts struct {
	Epoch placement.Epoch  `json:"epoch"`
	Ports []placement.Port `json:"ports"`
}

type lateFile struct {
	V      int                        `json:"v"` // [placement.Format]
	Copies map[placement.ID]latePorts `json:"copies"`
}

func openLate(stateDir string) (*late, error) {
	l := &late{path: filepath.Join(stateDir, "ports"), pen: newPen(), copies: map[placement.ID]latePorts{}}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	var f lateFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil && f.V != placement.Format {
		err = fmt.Errorf("%s has format %d, this agent reads %d", l.path, f.V, placement.Format)
	}
	if err != nil {
		return nil, fmt.Errorf("read the ports that were added: %w", err)
	}
	if f.Copies != nil {
		l.copies = f.Copies
	}
	return l, nil
}

// of are the ports of the copy of exactly that epoch.
func (l *late) of(id placement.ID, e placement.Epoch) []placement.Port {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.copies[id]; c.Epoch == e {
		return c.Ports
	}
	return nil
}

func (l *late) set(id placement.ID, e placement.Epoch, ports []placement.Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copies[id] = latePorts{e, ports}
}

// save makes what is remembered durable, without the copies that are not here
// any more. The caller has the pen.
func (l *late) save(here func(placement.ID, placement.Epoch) bool) error {
	l.mu.Lock()
	all := maps.Clone(l.copies)
	l.mu.Unlock()
	maps.DeleteFunc(all, func(id placement.ID, c latePorts) bool { return len(c.Ports) == 0 || !here(id, c.Epoch) })
	b, err := json.Marshal(lateFile{V: placement.Format, Copies: all})
	l.mu.Lock()
	l.copies = all
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return replaceFile(l.path, b, true)
}

// isHere tells whether a copy of that epoch may be on this node: before all
// daemons were listed, every one may.
func (a *Agent) isHere(id placement.ID, e placement.Epoch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.book.copies[id]
	return !a.tidied || c != nil && c.epoch == e
}

// AddPort publishes a port of a running copy on the node's address, until it is
// removed or the copy is gone; a host port of 0 is one that the agent chooses.
// It outlives a restart of the agent and of the node. The same again changes
// nothing. A host port that a copy or a program has is refused.
func (a *Agent) AddPort(ctx context.Context, id placement.ID, p placement.Port) (placement.Port, error) {
	if p.Proto == "" {
		p.Proto = "tcp"
	}
	if p.Container == 0 || p.Proto != "tcp" && p.Proto != "udp" {
		return p, &placement.Error{Kind: placement.KindInvalid, What: "this port cannot be added", Why: fmt.Sprintf("it is port %d of protocol %q", p.Container, p.Proto), Next: "give a port from 1 to 65535 of tcp or udp"}
	}
	if err := a.late.pen.take(ctx); err != nil {
		return p, err
	}
	defer a.late.pen.put()
	taken := map[uint16]bool{} // by programs of the node
	for {
		got, e, err := a.claimLate(id, p, taken)
		if err != nil {
			return p, err
		}
		err = a.publishLate(ctx, id, e, got)
		if err == nil || p.Host != 0 || kindOf(err) != placement.KindRefused || len(taken) >= 100 {
			return got, err
		}
		taken[got.Host] = true
	}
}

// claimLate gives the copy the port, in the book alone.
func (a *Agent) claimLate(id placement.ID, p placement.Port, taken map[uint16]bool) (placement.Port, placement.Epoch, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, found := a.book.find(id)
	if !found || a.book.copies[id].state != placement.CopyRunning || a.leaving(id) {
		return p, "", &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("no port can be added to %s", id.Replica()), Why: "no copy of it runs on " + string(a.cfg.Node)}
	}
	h := a.book.holds[i]
	held := map[hostPort]placement.ID{}
	for _, other := range a.book.holds {
		for _, q := range other.ports() {
			held[hostPortOf(q)] = other.ID
		}
	}
	for _, q := range h.ports() {
		if q.Container == p.Container && hostPortOf(q).proto == p.Proto && q.Host != 0 && (p.Host == 0 || p.Host == q.Host) {
			return q, h.Epoch, nil
		}
	}
	if p.Host == 0 {
		p.Host = freeLate(id, p, func(n uint16) bool { return taken[n] || held[hostPort{p.Proto, n}] != "" })
	}
	if holder := held[hostPortOf(p)]; holder != "" || p.Host == 0 {
		return p, "", &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s cannot have host port %s", id.Replica(), hostPortOf(p)), Why: fmt.Sprintf("it is held by %s", holder.Replica()), Next: "choose another, or 0 for any"}
	}
	a.book.setLate(id, h.Epoch, append(slices.Clone(h.Late), p))
	return p, h.Epoch, nil
}

// leaving tells whether the placement's copy is being removed; a.mu is held.
func (a *Agent) leaving(id placement.ID) bool {
	t := a.tasks[id]
	return t != nil && t.kind == removing
}

// freeLate chooses a port of the agent's own range, the same for the same copy
// where that is possible; 0 if none is free.
func freeLate(id placement.ID, p placement.Port, taken func(uint16) bool) uint16 {
	const size = lastLate - firstLate + 1
	h := fnv.New32a()
	fmt.Fprintf(h, "%s:%d/%s", id.Replica(), p.Container, p.Proto)
	for n := range uint32(size) {
		if port := uint16(firstLate + (h.Sum32()%size+n)%size); !taken(port) {
			return port
		}
	}
	return 0
}

// publishLate makes the claimed port durable and real, or gives it back.
func (a *Agent) publishLate(ctx context.Context, id placement.ID, e placement.Epoch, p placement.Port) error {
	h, _ := a.holds(id)
	a.late.set(id, e, h.Late)
	err := a.late.save(a.isHere)
	if err == nil {
		err = a.exposeOne(ctx, id, p)
	}
	if err == nil {
		a.mu.Lock()
		i, found := a.book.find(id)
		stays := found && a.book.holds[i].Epoch == e && !a.leaving(id)
		a.mu.Unlock()
		if stays {
			return nil
		}
		err = &placement.Error{Kind: placement.KindConflict, What: fmt.Sprintf("%s went away meanwhile", id.Replica())}
	}
	undo := context.WithoutCancel(ctx)
	return errors.Join(err, a.dropLate(undo, id, e, p))
}

func (a *Agent) exposeOne(ctx context.Context, id placement.ID, p placement.Port) error {
	if err := a.portPen.take(ctx); err != nil {
		return err
	}
	defer a.portPen.put()
	return a.Ports.Expose(ctx, id, []placement.Port{p})
}

// RemovePort takes back a port that was added. One that the copy's request asks
// for belongs to its app, and is refused; one that is not there is an error.
func (a *Agent) RemovePort(ctx context.Context, id placement.ID, p placement.Port) error {
	if err := a.late.pen.take(ctx); err != nil {
		return err
	}
	defer a.late.pen.put()
	h, found := a.holds(id)
	i := slices.IndexFunc(h.Late, func(q placement.Port) bool { return hostPortOf(q) == hostPortOf(p) })
	switch {
	case found && i >= 0:
		return a.dropLate(ctx, id, h.Epoch, h.Late[i])
	case slices.ContainsFunc(h.Request.Ports, func(q placement.Port) bool { return hostPortOf(q) == hostPortOf(p) }):
		return &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("host port %s of %s cannot be removed", hostPortOf(p), id.Replica()), Why: "its app asks for it", Next: "change the app"}
	}
	return &placement.Error{Kind: placement.KindNotFound, What: fmt.Sprintf("%s has no host port %s on %s", id.Replica(), hostPortOf(p), a.cfg.Node)}
}

// dropLate takes the rule back, then forgets the port.
func (a *Agent) dropLate(ctx context.Context, id placement.ID, e placement.Epoch, p placement.Port) error {
	if err := a.Ports.WithdrawOne(ctx, id, p); err != nil {
		return err
	}
	h, _ := a.holds(id)
	if h.Epoch != e {
		return nil // what is remembered of it goes with the next write
	}
	rest := slices.DeleteFunc(slices.Clone(h.Late), func(q placement.Port) bool { return q == p })
	a.mu.Lock()
	a.book.setLate(id, e, rest)
	a.mu.Unlock()
	a.late.set(id, e, rest)
	return a.late.save(a.isHere)
}

// Published are the ports of this node's copies on its address, by placement.
func (a *Agent) Published() []placement.Published {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []placement.Published{}
	for _, h := range a.book.holds {
		for i, p := range h.ports() {
			if p.Host != 0 {
				out = append(out, placement.Published{ID: h.ID, Port: p, Late: i >= len(h.Request.Ports)})
			}
		}
	}
	return out
}
