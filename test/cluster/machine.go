package cluster

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ether is the Ethernet of a cluster whose nodes are machines of their own:
// each has a network namespace, and reaches the broadcaster and the registry
// over it alone. (Redis is at a unix socket.)
type ether struct {
	name   string // of its bridge, and the beginning of all names on it
	prefix string // of its addresses
}

func (e ether) centre() string       { return e.prefix + ".254" }
func (e ether) space(i int) string   { return fmt.Sprintf("%s-%d", e.name, i) }
func (e ether) address(i int) string { return fmt.Sprintf("%s.%d", e.prefix, i) }

// startEther makes the Ethernet with n machines on it.
func (c *Cluster) startEther(n int) {
	c.t.Helper()
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.Dir)) // it never fails
	c.ether = &ether{name: fmt.Sprintf("lse%07x", h.Sum32()>>4), prefix: fmt.Sprintf("10.88.%d", h.Sum32()%250)}
	e := c.ether
	c.sh(fmt.Sprintf("ip link add %[1]s type bridge && ip addr add %[2]s/24 dev %[1]s && ip link set %[1]s up", e.name, e.centre()))
	for i := 1; i <= n; i++ {
		c.sh(fmt.Sprintf(`ip netns add %[1]s
			ip link add %[1]s type veth peer name eth0 netns %[1]s
			ip link set %[1]s master %[2]s up
			nsenter --net=/run/netns/%[1]s sh -ec "ip link set lo up; ip addr add %[3]s/24 dev eth0; ip link set eth0 up"`, e.space(i), e.name, e.address(i)))
	}
}

// removeEther takes it away, once nothing runs there any more.
func (c *Cluster) removeEther() {
	for _, n := range c.Nodes {
		c.sh("ip netns del " + n.space)
	}
	c.sh("ip link del " + c.ether.name)
}

func (c *Cluster) sh(script string) {
	c.t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		c.t.Errorf("%s: %v\n%s", script, err, out)
	}
}

// process is the node's daemon in that role; with machines it starts in the
// node's network namespace, with a certificate.
func (n *Node) process(role string, args []string) *Process {
	name, program := role+"d-"+n.Name, Bin(role+"d")
	if n.space == "" {
		return newProcess(n.c.t, n.c.Dir, name, program, args...)
	}
	inside := append([]string{"--net=/run/netns/" + n.space, program}, n.c.certificate(role+"/"+n.Name)...)
	return newProcess(n.c.t, n.c.Dir, name, "nsenter", append(inside, args...)...)
}

// scheme is that of the nodes' links to the broadcaster.
func (c *Cluster) scheme() string {
	if c.ether != nil {
		return "tls://"
	}
	return "tcp://"
}

// certificate issues one, and returns the flags that use it.
func (c *Cluster) certificate(who string) []string {
	c.t.Helper()
	ca := filepath.Join(c.Dir, "ca")
	if _, err := os.Stat(ca); err != nil {
		c.Must("ca", "init", "--ca-dir", ca)
	}
	dir := filepath.Join(c.Dir, strings.ReplaceAll(who, "/", "-"))
	c.Must("ca", "issue", who, "--ca-dir", ca, "--out", dir)
	return []string{"--tls-dir", dir}
}

// Drop lets no packet into the machine (in), none out of it (out), or neither,
// until [Node.Pass]. The cluster has machines.
func (n *Node) Drop(in, out bool) {
	n.c.t.Helper()
	if in {
		n.rule("-I INPUT -i eth0")
		n.rule("-I FORWARD -i eth0")
	}
	if out {
		n.rule("-I OUTPUT -o eth0")
		n.rule("-I FORWARD -o eth0")
	}
}

// Pass ends all that Drop did.
func (n *Node) Pass() {
	n.c.t.Helper()
	script := `for chain in "INPUT -i" "OUTPUT -o" "FORWARD -i" "FORWARD -o"; do while iptables -w -D $chain eth0 -m comment --comment cut -j DROP 2>/dev/null; do :; done; done`
	n.c.sh("nsenter --net=/run/netns/" + n.space + " sh -c '" + script + "'")
}

func (n *Node) rule(at string) {
	n.c.t.Helper()
	n.c.sh("nsenter --net=/run/netns/" + n.space + " iptables -w " + at + " -m comment --comment cut -j DROP")
}

// machineAddress is the node's on the Ethernet.
func (n *Node) machineAddress(i int) {
	n.space = n.c.ether.space(i)
	n.Address = netip.MustParseAddr(n.c.ether.address(i))
}
