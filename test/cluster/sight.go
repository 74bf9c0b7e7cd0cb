package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"longshore/internal/placement"
)

// Sighting is one container of Longshore's, as its daemon tells.
type Sighting struct {
	Node      string
	Socket    string
	Container string
	ID        placement.ID
	Epoch     placement.Epoch
	Digest    string // of its request
	Running   bool
}

// Observation is what all daemons said at one moment, and what they did not.
type Observation struct {
	At     time.Time
	Seen   []Sighting
	Blind  map[string]string // nodes with a daemon that could not be listed, and why
	Hidden []Hidden
}

// Hidden is a container that lives by its shim, and of which its daemon says
// that it does not run. It may be about to start or to end.
type Hidden struct {
	Node      string
	Container string
}

// Copies are the sightings of one replica that run.
func (o Observation) Copies(r placement.Replica) []Sighting {
	var of []Sighting
	for _, s := range o.Seen {
		if s.Running && s.ID.Replica() == r {
			of = append(of, s)
		}
	}
	return of
}

// byReplica are the sightings that run.
func (o Observation) byReplica() map[placement.Replica][]Sighting {
	copies := map[placement.Replica][]Sighting{}
	for _, s := range o.Seen {
		if s.Running {
			copies[s.ID.Replica()] = append(copies[s.ID.Replica()], s)
		}
	}
	return copies
}

// Look lists every daemon of every node, each within 2 s.
func (c *Cluster) Look() Observation {
	o := Observation{At: time.Now(), Blind: map[string]string{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, n := range c.Nodes {
		for _, socket := range n.Sockets() {
			all.Go(func() {
				shims := containers(filepath.Dir(socket))
				seen, running, err := look(n.Name, socket, c.ID)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					o.Blind[n.Name] = err.Error()
					return
				}
				for _, id := range shims {
					if !running[id] {
						o.Hidden = append(o.Hidden, Hidden{n.Name, id})
					}
				}
				o.Seen = append(o.Seen, seen...)
			})
		}
	}
	all.Wait()
	return o
}

// Sockets are the node's Docker daemons, those that are down included.
func (n *Node) Sockets() []string {
	dirs, _ := filepath.Glob(filepath.Join(n.StateDir, "docker/daemons/*")) // the pattern is right
	var sockets []string
	for _, d := range dirs {
		found, _ := filepath.Glob(filepath.Join(n.RunDir, "d/*", filepath.Base(d), "d.sock"))
		if len(found) == 0 {
			found = []string{filepath.Join(n.RunDir, "no socket of "+filepath.Base(d))}
		}
		sockets = append(sockets, found...)
	}
	return sockets
}

// Docker opens a client of a daemon by its socket.
func Docker(socket string) (*client.Client, error) {
	return client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
}

// look lists a daemon: what is of ours, and all that runs.
func look(node, socket, cluster string) (seen []Sighting, running map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	docker, err := Docker(socket)
	if err != nil {
		return nil, nil, err
	}
	defer docker.Close()
	list, err := docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, nil, err
	}
	running = map[string]bool{}
	for _, found := range list {
		running[found.ID] = found.State == "running"
		if found.Labels["longshore.cluster"] != cluster || found.Labels["longshore.id"] == "" {
			continue
		}
		seen = append(seen, Sighting{
			Node: node, Socket: socket, Container: found.ID, Running: running[found.ID],
			ID: placement.ID(found.Labels["longshore.id"]), Epoch: placement.Epoch(found.Labels["longshore.epoch"]),
			Digest: found.Labels["longshore.digest"],
		})
	}
	return seen, running, nil
}

// containers are the IDs of those that live by their shims, of the daemon with
// this run directory.
func containers(dir string) (ids []string) {
	for _, argv := range commands() {
		if i := slices.Index(argv, "-id"); i > 0 && i+1 < len(argv) && strings.HasPrefix(filepath.Base(argv[0]), "containerd-shim") &&
			strings.Contains(strings.Join(argv, " "), dir+"/") {
			ids = append(ids, argv[i+1])
		}
	}
	return ids
}

// commands are the arguments of all processes, by PID.
func commands() map[int][]string {
	all := map[int][]string{}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, file := range procs {
		b, err := os.ReadFile(file)
		if err != nil || len(b) == 0 {
			continue // it has ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			all[pid] = strings.Split(string(b), "\x00")
		}
	}
	return all
}

// FlushRedis makes Redis forget every lock.
func (c *Cluster) FlushRedis() error {
	_, err := c.RedisCLI("flushall")
	return err
}

// RedisCLI runs redis-cli; an answer that is an error is one.
func (c *Cluster) RedisCLI(args ...string) (string, error) {
	args = append([]string{"-e", "-s", filepath.Join(c.Dir, "redis.sock")}, args...)
	out, err := exec.Command("redis-cli", args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("redis-cli %v: %w: %s", args, err, out)
	}
	return string(out), nil
}
