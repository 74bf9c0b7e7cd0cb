package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"longshore/internal/dockerd"
	"longshore/internal/hostnet"
	"longshore/internal/placement"
	"longshore/rpc"
)

// Options of a cluster. The zero value has three nodes.
type Options struct {
	Nodes     int      // 0: 3
	NodeFlags []string // more arguments for agentd and hostinfod
	NoRedis   bool
	// RedisRelay: the nodes reach Redis through [Cluster.Relay].
	RedisRelay bool
	// LedgerDisk: the ledger and the images are on a disk of so many MiB, see
	// [Cluster.FillLedger].
	LedgerDisk int
	// NodeDisk: so is the state of the first node, see [Node.Fill].
	NodeDisk int
	// Machines: each node has a network namespace of its own, see [Node.Drop].
	Machines bool
}

// Cluster is a running cluster.
type Cluster struct {
	ID          string
	Dir         string // state and logs
	Endpoint    string // of the broadcaster, for schedctl
	Broadcaster *Process
	Redis       *Process
	Relay       *Relay // before Redis, if asked for
	Nodes       []*Node

	t            testing.TB
	registry     string
	redisAddress string // of the socket that the nodes know
	bridge       *hostnet.ClusterNet
	ether        *ether   // nil: the nodes are addresses of this machine
	env          []string // of schedctl
	disks        []string // mounted
}

// Node is one node of it.
type Node struct {
	Name     string
	Address  netip.Addr
	StateDir string
	RunDir   string
	Agent    *Process
	Hostinfo *Process

	c     *Cluster
	space string // its network namespace; "": the test's own
}

// Bin is the path of one of our programs.
func Bin(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../bin", name)
}

// Start starts a cluster and waits until every node takes work. It is removed,
// and what its processes wrote last is shown if the test failed, when the test
// ends.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("must be root: starts Docker daemons, bridges and rules")
	}
	for _, program := range []string{"schedctl", "broadcasterd", "agentd", "hostinfod", "longshore-pause", "hello"} {
		if _, err := os.Stat(Bin(program)); err != nil {
			t.Fatalf("%v; run: make build", err)
		}
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	dir, err := os.MkdirTemp("/tmp", "ls")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Dir: dir, Endpoint: "ipc://" + dir + "/broadcaster.sock", t: t}
	t.Cleanup(c.remove)
	c.startCentre(o)
	c.startNodes(o)
	c.WaitReady(o.Nodes)
	return c
}

func (c *Cluster) startCentre(o Options) {
	c.t.Helper()
	centre, flags := "127.0.0.1", []string(nil)
	if o.Machines {
		c.startEther(o.Nodes)
		centre, flags = c.ether.centre(), c.certificate("broadcaster/b1")
	}
	listen, registry := centre+":"+freePort(c.t), centre+":"+freePort(c.t)
	c.registry = "http://" + registry
	c.Redis = newProcess(c.t, c.Dir, "redis", "redis-server",
		"--port", "0", "--unixsocket", filepath.Join(c.Dir, "redis.sock"), "--save", "", "--appendonly", "no", "--dir", c.Dir)
	if !o.NoRedis {
		c.Redis.Start()
	}
	c.redisAddress = filepath.Join(c.Dir, "redis.sock")
	if o.RedisRelay {
		c.redisAddress += ".relay"
		c.Relay = NewRelay(c.t, "unix", c.redisAddress, filepath.Join(c.Dir, "redis.sock"))
	}
	if o.Machines {
		c.env = []string{"LONGSHORE_ENDPOINT=tls://" + listen, "LONGSHORE_TLS_DIR=" + c.certificate("operator/ops")[1]}
	}
	if o.LedgerDisk > 0 {
		c.small(filepath.Join(c.Dir, "broadcaster"), o.LedgerDisk)
	}
	c.Broadcaster = newProcess(c.t, c.Dir, "broadcasterd", Bin("broadcasterd"), append(flags,
		"--data-dir", filepath.Join(c.Dir, "broadcaster"), "--run-dir", c.Dir, "--listen", c.scheme()+listen, "--registry", registry)...)
	c.Broadcaster.Start()
	Eventually(c.t, 10*time.Second, "the broadcaster answers", func() error {
		var info struct {
			Cluster string `json:"cluster"`
		}
		err := c.Call("info", &info)
		c.ID = info.Cluster
		return err
	})
	bridge, err := hostnet.EnsureCluster(c.t.Context(), hostnet.ClusterConfig{Cluster: c.ID, StateDir: c.Dir})
	if err != nil {
		c.t.Fatal(err)
	}
	c.bridge = bridge
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, c.newNode(i+1, c.scheme()+listen, o))
	}
}

func (c *Cluster) newNode(i int, broadcaster string, o Options) *Node {
	name := fmt.Sprintf("n%d", i)
	n := &Node{Name: name, StateDir: filepath.Join(c.Dir, "nodes", name), RunDir: filepath.Join(c.Dir, name), c: c}
	if o.NodeDisk > 0 && i == 1 {
		c.small(n.StateDir, o.NodeDisk)
	}
	if o.Machines {
		n.machineAddress(i)
	} else {
		address, err := c.bridge.AddNodeAddress(c.t.Context(), placement.NodeID(name))
		if err != nil {
			c.t.Fatal(err)
		}
		n.Address = address
	}
	args := append([]string{
		"--node", name, "--address", n.Address.String(), "--broadcaster", broadcaster,
		"--state-dir", n.StateDir, "--run-dir", n.RunDir, "--pause", Bin("longshore-pause"),
	}, o.NodeFlags...)
	if !o.NoRedis {
		args = append(args, "--redis", "unix://"+c.redisAddress)
	}
	n.Agent = n.process("agent", args)
	n.Hostinfo = n.process("hostinfo", args)
	return n
}

func (c *Cluster) startNodes(Options) {
	for _, n := range c.Nodes {
		n.Agent.Start()
		n.Hostinfo.Start()
	}
}

// WaitReady waits until so many nodes take work.
func (c *Cluster) WaitReady(want int) {
	c.t.Helper()
	Eventually(c.t, 30*time.Second, fmt.Sprintf("%d nodes are ready", want), func() error {
		var nodes []placement.NodeStatus
		if err := c.Call("nodes", &nodes); err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes {
			if n.State == placement.NodeReady && n.Agent && n.Hostinfo {
				ready++
			}
		}
		if ready != want {
			return fmt.Errorf("%d are: %+v", ready, nodes)
		}
		return nil
	})
}

// Link opens a connection to the broadcaster, closed when the test ends.
func (c *Cluster) Link() *rpc.Link {
	c.t.Helper()
	link, err := rpc.Dial(c.t.Context(), rpc.ZMQ(rpc.ZMQOptions{}), c.Endpoint, rpc.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { link.Close() })
	return link
}

// Call asks the broadcaster one thing, within 5 s, on a connection of its own.
func (c *Cluster) Call(method string, result any, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	link, err := rpc.Dial(ctx, rpc.ZMQ(rpc.ZMQOptions{}), c.Endpoint, rpc.Config{})
	if err != nil {
		return err
	}
	defer link.Close()
	return link.Call(ctx, method, result, args...)
}

// Schedctl runs schedctl, as a user would, and returns what it printed and its
// exit code.
func (c *Cluster) Schedctl(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	cmd := exec.Command(Bin("schedctl"), args...)
	cmd.Env = append(append(os.Environ(), "LONGSHORE_ENDPOINT="+c.Endpoint), c.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Must runs schedctl and fails the test unless it exits with 0.
func (c *Cluster) Must(args ...string) (stdout string) {
	c.t.Helper()
	stdout, stderr, code := c.Schedctl(args...)
	if code != 0 {
		c.t.Fatalf("schedctl %v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// File writes an app file and returns its path.
func (c *Cluster) File(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// PushHello pushes the example program as an image of the owner. It declares
// no port, so that many services of it fit into one net container.
func (c *Cluster) PushHello(owner, tag string, flags ...string) {
	c.t.Helper()
	c.Must(append([]string{"image", "push", tag, "--owner", owner, "--binary", Bin("hello")}, flags...)...)
}

// Statuses are the copies that the filter chooses, as the broadcaster tells.
func (c *Cluster) Statuses(f placement.Filter) []placement.Status {
	c.t.Helper()
	var statuses []placement.Status
	if err := c.Call("status", &statuses, f); err != nil {
		c.t.Fatal(err)
	}
	return statuses
}

// Get is the body of a page, within 2 s.
func Get(url string) (string, error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// remove ends all processes and takes everything off the machine.
func (c *Cluster) remove() {
	for _, n := range c.Nodes {
		n.Agent.Stop()
		n.Hostinfo.Stop()
	}
	for _, p := range []*Process{c.Broadcaster, c.Redis} {
		if p != nil {
			p.Stop()
		}
	}
	if c.t.Failed() {
		c.showLogs()
	}
	c.keepLogs()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, n := range c.Nodes {
		if err := n.destroy(ctx); err != nil {
			c.t.Errorf("remove node %s: %v", n.Name, err)
		}
	}
	if c.ether != nil {
		c.removeEther()
	}
	if c.bridge != nil {
		if err := c.bridge.Remove(ctx); err != nil {
			c.t.Errorf("remove the bridge: %v", err)
		}
	}
	for _, dir := range c.disks {
		c.sh("umount -l " + dir)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.t.Errorf("remove the cluster's directory: %v", err)
	}
}

func (n *Node) dockerd() dockerd.Config {
	return dockerd.Config{
		Cluster: n.c.ID, Node: placement.NodeID(n.Name), RemoveState: true,
		StateDir: filepath.Join(n.StateDir, "docker"), RunDir: filepath.Join(n.RunDir, "d"),
	}
}

func (n *Node) destroy(ctx context.Context) error {
	if err := dockerd.New(n.dockerd(), nil).Destroy(ctx); err != nil {
		return err
	}
	return hostnet.Sweep(ctx, n.c.ID, placement.NodeID(n.Name))
}

// freePort is a TCP port of the loopback that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Eventually tries f until it returns nil, and fails the test after limit with
// its last error.
func Eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		<-tick.C
	}
}
