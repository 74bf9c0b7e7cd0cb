package hostnet

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strings"

	"longshore/internal/placement"
)

// Lengths of names: an interface has at most 15 bytes, a chain 28.
const (
	userPrefix    = "ls"         // of all bridges of owners, on any node
	clusterPrefix = "lc"         // of the bridges of clusters on one machine
	chainPrefix   = "LONGSHORE-" // of all chains
	nodeLetters   = 6
	ownerLetters  = 7
	clusterLength = 12
)

// names are those of everything that belongs to one (cluster, node).
type names struct {
	cluster string
	node    placement.NodeID
	id      string // short ID of (cluster, node)
}

func newNames(cluster string, node placement.NodeID) (names, error) {
	if err := checkCluster(cluster); err != nil {
		return names{}, err
	}
	if err := placement.CheckName("node", string(node)); err != nil {
		return names{}, err
	}
	return names{cluster: cluster, node: node, id: shortID(nodeLetters, cluster, string(node))}, nil
}

// bridges is the prefix of the bridges of this node's owners.
func (n names) bridges() string { return userPrefix + n.id }

func (n names) bridge(owner string) string {
	return n.bridges() + shortID(ownerLetters, n.cluster, string(n.node), owner)
}

// idle is a bridge that nothing is ever put on. No owner's bridge can have this
// name, nor any owner its alias.
func (n names) idle() string      { return n.bridges() + "-idle" }
func (n names) idleAlias() string { return n.aliasPrefix() + "-idle" }

func (n names) alias(owner string) string {
	return n.aliasPrefix() + owner
}

func (n names) aliasPrefix() string {
	return "longshore " + n.cluster + " " + string(n.node) + " "
}

func (n names) forward() string    { return chainPrefix + n.id }
func (n names) dnat() string       { return chainPrefix + n.id + "-DNAT" }
func (n names) masquerade() string { return chainPrefix + n.id + "-MASQ" }

// comment marks a jump or a rule as this node's.
func (n names) comment(key string) string {
	return strings.TrimSpace("longshore " + n.id + " " + key)
}

func clusterBridge(cluster string) string { return clusterPrefix + shortID(clusterLength, cluster) }
func clusterAlias(cluster string) string  { return "longshore " + cluster }

// shortID hashes words to n letters and digits, five bits each.
func shortID(n int, words ...string) string {
	sum := hashOf(words...)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:n]
}

func hashOf(words ...string) [sha256.Size]byte {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, uint32(len(w)))
		b = append(b, w...)
	}
	return sha256.Sum256(b)
}

// macOf is a locally administered address. A bridge without a fixed one takes
// that of its lowest port, and changes it when containers come and go.
func macOf(bridge string) net.HardwareAddr {
	sum := hashOf(bridge)
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

var (
	plain   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)
	keyForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9/._:@+-]{0,199}$`)
)

func checkCluster(cluster string) error {
	if plain.MatchString(cluster) {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindInvalid,
		What: fmt.Sprintf("%q is not the ID of a cluster", cluster),
		Why:  "an ID has 1 to 64 of a-z, A-Z, 0-9, -, _ and ., and begins with a letter or digit",
	}
}
