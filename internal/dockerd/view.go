package dockerd

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"longshore/internal/placement"
)

// listLimit is how long one daemon may take to list its containers.
const listLimit = 2 * time.Second

// Observer reads what the daemons of a node do, and changes nothing. It keeps
// no connection and needs no Host: it finds the daemons on disk, each time.
type Observer struct {
	cfg Config

	mu   sync.Mutex
	disk map[string]int64 // owner -> bytes, as last measured
}

// Observe makes an Observer. PausePath, Mirror and Manager are not needed.
func Observe(cfg Config) *Observer { return &Observer{cfg: cfg, disk: map[string]int64{}} }

// Listing is every container of every owner's daemon on this node.
type Listing struct {
	Daemons   []placement.DaemonListing // by owner; one that could not be listed is not OK
	Copies    []placement.Copy          // of this cluster and node, by ID; net containers are not among them
	Strangers []Stranger                // everything else, by owner and name
}

// Stranger is a container that Longshore did not make, in an owner's daemon.
type Stranger struct {
	Owner string
	Name  string
	Image string
	State placement.CopyState
}

// List asks every daemon at once; each has 2 s. A daemon that fails is in the
// listing as not OK and says nothing about its containers. For some
// milliseconds after its death was told by Watch, a container may still be
// listed as running. The error is of the
// node: then nothing is known of any daemon.
func (o *Observer) List(ctx context.Context) (Listing, error) {
	if err := o.cfg.Check(); err != nil {
		return Listing{}, err
	}
	owners, err := o.cfg.owners()
	if err != nil {
		return Listing{}, err
	}
	parts := make([]Listing, len(owners))
	var all sync.WaitGroup
	for i, owner := range owners {
		all.Go(func() { parts[i] = o.listOne(ctx, owner) })
	}
	all.Wait()
	var l Listing
	for _, p := range parts {
		l.Daemons = append(l.Daemons, p.Daemons...)
		l.Copies = append(l.Copies, p.Copies...)
		l.Strangers = append(l.Strangers, p.Strangers...)
	}
	slices.SortFunc(l.Daemons, func(a, b placement.DaemonListing) int { return cmp.Compare(a.Owner, b.Owner) })
	slices.SortFunc(l.Copies, func(a, b placement.Copy) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(l.Strangers, func(a, b Stranger) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name))
	})
	return l, nil
}

func (o *Observer) listOne(ctx context.Context, owner string) Listing {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	state := placement.DaemonListing{Owner: owner}
	containers, err := o.containers(ctx, owner)
	if err == nil {
		// Read after the list: a data-root that was changed meanwhile shows.
		state.Root, err = readRoot(o.cfg.paths(owner))
	}
	if err != nil {
		state.Err = err.Error()
		return Listing{Daemons: []placement.DaemonListing{state}}
	}
	state.OK = true
	l := Listing{Daemons: []placement.DaemonListing{state}}
	for _, s := range containers {
		switch found, ours := o.cfg.copyFrom(s.Labels); {
		case ours:
			found.State = copyState(s.State)
			found.Exit = exitCode(s.Status)
			l.Copies = append(l.Copies, found)
		case s.Labels[labelNet] == "" || s.Labels[labelCluster] != o.cfg.Cluster:
			l.Strangers = append(l.Strangers, Stranger{Owner: owner, Name: nameOf(s), Image: s.Image, State: copyState(s.State)})
		}
	}
	return l
}

func (o *Observer) containers(ctx context.Context, owner string) ([]container.Summary, error) {
	cli, err := connect(o.cfg.paths(owner))
	if err != nil {
		return nil, err
	}
	defer func() { _ = cli.Close() }() // it always says nil
	all, err := cli.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return all, nil
}

func nameOf(s container.Summary) string {
	if len(s.Names) == 0 {
		return s.ID
	}
	return s.Names[0][1:] // "/name"
}

var exitedStatus = regexp.MustCompile(`^Exited \((-?\d+)\)`)

// exitCode reads it out of the one place where Docker's list has it:
// "Exited (137) 3 seconds ago". 0 for what has not exited.
func exitCode(status string) int {
	m := exitedStatus.FindStringSubmatch(status)
	if m == nil {
		return 0
	}
	code, _ := strconv.Atoi(m[1])
	return code
}
