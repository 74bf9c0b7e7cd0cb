package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"longshore/internal/placement"
)

// stateFormat is the version of the files in the state directory. History:
//
//	1  2026-11  first format
const stateFormat = 1

// Pinned is the ID of the cluster that the agent with this state directory
// serves; "" if it never registered. Changing it takes the operator's word: see
// [Accept].
func Pinned(stateDir string) (cluster string, err error) {
	p, err := openPin(stateDir, "", "")
	if err != nil {
		return "", err
	}
	return p.cluster, nil
}

// Accept is the operator's word that the agent with this state directory is to
// serve that cluster from its next start on. The mark of the former cluster is
// forgotten with it: it would prove to the new one that its ledger was rolled
// back. No agent may run there. Accepting the cluster that is served changes
// nothing.
func Accept(stateDir, cluster string) error {
	served, err := Pinned(stateDir)
	if err != nil || served == "" || served == cluster {
		return err
	}
	for _, name := range []string{"mark", "cluster"} { // the mark alone means nothing
		if err := os.Remove(filepath.Join(stateDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("leave cluster %s: %w", served, err)
		}
	}
	return syncDir(stateDir)
}

// pin keeps, durably, the one cluster that is served and the highest mark that
// was seen. The mark is what proves that a ledger was rolled back.
type pin struct {
	dir  string
	node placement.NodeID
	pen  pen // of both files

	mu      sync.Mutex
	cluster string
	mark    placement.Mark
	stored  placement.Mark // as the files know it
}

type pinFile struct {
	V       int              `json:"v"` // [stateFormat]
	Cluster string           `json:"cluster"`
	Node    placement.NodeID `json:"node"`
	Mark    placement.Mark   `json:"mark"`
}

// openPin reads what is pinned. A cluster or node other than the one wanted is
// an error; "" wants nothing in particular.
func openPin(dir string, node placement.NodeID, cluster string) (*pin, error) {
	p := &pin{dir: dir, node: node, pen: newPen(), cluster: cluster}
	var f pinFile
	switch b, err := os.ReadFile(p.path("cluster")); {
	case errors.Is(err, os.ErrNotExist):
		return p, nil
	case err != nil:
		return nil, fmt.Errorf("read what is pinned: %w", err)
	default:
		if err := json.Unmarshal(b, &f); err != nil || f.V != stateFormat {
			return nil, fmt.Errorf("%s is not readable (format %d, this program reads %d): %w", p.path("cluster"), f.V, stateFormat, err)
		}
	}
	if cluster != "" && f.Cluster != cluster {
		return nil, otherCluster(f.Cluster, cluster, p.path("cluster"))
	}
	if node != "" && f.Node != node {
		return nil, &placement.Error{
			Kind: placement.KindRefused,
			What: fmt.Sprintf("%s is the state of node %s, not of %s", dir, f.Node, node),
			Why:  "a node's state directory cannot be given to another node",
			Next: "choose another directory",
		}
	}
	p.cluster, p.mark = f.Cluster, f.Mark
	// The other file runs ahead of this one. It is not synced, so after a crash
	// of the machine it may hold anything.
	var m pinFile
	if b, err := os.ReadFile(p.path("mark")); err == nil && json.Unmarshal(b, &m) == nil && m.V == stateFormat && m.Cluster == f.Cluster && m.Mark.Compare(p.mark) > 0 {
		p.mark = m.Mark
	}
	p.stored = p.mark
	return p, nil
}

func (p *pin) path(name string) string { return filepath.Join(p.dir, name) }

func otherCluster(served, asked, path string) error {
	return &placement.Error{
		Kind: placement.KindRefused,
		What: fmt.Sprintf("this node serves cluster %s, not %s", served, asked),
		Why:  "an agent serves one cluster, whose copies are on the node",
		Next: "to move the node, drain it in its own cluster and start agentd once with --accept-cluster " + asked + "; " + path + " says which it serves",
	}
}

// get is the pinned cluster ("": none yet) and the highest mark.
func (p *pin) get() (cluster string, highest placement.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cluster, p.mark
}

// see takes note of a mark; flush or save makes it last.
func (p *pin) see(m placement.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Compare(p.mark) > 0 {
		p.mark = m
	}
}

// flush stores the highest mark, if it is not, so that it outlives this
// process. It is called before an answer is acted on; it costs some 50 µs.
func (p *pin) flush(ctx context.Context) error { return p.write(ctx, "mark", false) }

// save pins the cluster and the highest mark so that they outlive a crash of
// the machine.
func (p *pin) save(ctx context.Context, cluster string) error {
	p.mu.Lock()
	p.cluster = cluster
	p.mu.Unlock()
	return p.write(ctx, "cluster", true)
}

func (p *pin) write(ctx context.Context, name string, sync bool) error {
	if err := p.pen.take(ctx); err != nil {
		return err
	}
	defer p.pen.put()
	p.mu.Lock()
	f, stored := pinFile{V: stateFormat, Cluster: p.cluster, Node: p.node, Mark: p.mark}, p.stored
	p.mu.Unlock()
	if !sync && (f.Cluster == "" || f.Mark == stored) {
		return nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := replaceFile(p.path(name), b, sync); err != nil {
		return fmt.Errorf("store the mark: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Mark.Compare(p.stored) > 0 {
		p.stored = f.Mark
	}
	return nil
}
