package hostnet

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"longshore/internal/placement"
)

// Config says whose networks these are.
type Config struct {
	Cluster  string           // ID of the cluster
	Node     placement.NodeID // this node
	StateDir string           // durable; holds hostnet.json
	// Beside are the state directories of other nodes on this machine: the
	// subnets that they recorded are not used here, even while they are down.
	Beside []string
	Pool   netip.Prefix // of the owners' /24s; the zero value means the default ones
	Logger *slog.Logger // nil: none
}

// Net is the networks of one node. There may be one per (cluster, node); its
// methods may be called at the same time, and again after an error.
type Net struct {
	names  names
	file   string
	beside []string
	pools  []netip.Prefix
	logger *slog.Logger

	users turn // of those who change users and their bridges
	rules turn // of those who write the host's rules

	mu       sync.Mutex
	records  map[string]userRecord
	saved    bool            // the file says the same
	exposed  map[string]Rule // by key
	want     uint64          // grows with each change of the two above
	have     uint64          // the want that the host's rules follow
	usersAt  uint64          // the want of the last change of records
	present  bool            // the host may have rules of ours
	written  ruleset         // what our chains hold if nobody touched them; nil: look
	asserted time.Time       // when all rules, jumps included, were last seen or put in place
}

// turn lets one in at a time; unlike a mutex it is left when a context ends.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

// New reads what there is: the record of subnets, the bridges and the host
// ports that a former process left. It changes nothing on the host.
func New(ctx context.Context, cfg Config) (*Net, error) {
	names, err := newNames(cfg.Cluster, cfg.Node)
	if err != nil {
		return nil, err
	}
	from, err := pools(cfg.Pool, userPools())
	if err != nil {
		return nil, err
	}
	n := &Net{
		names:   names,
		file:    filepath.Join(cfg.StateDir, userFile),
		pools:   from,
		logger:  cfg.Logger,
		users:   make(turn, 1),
		rules:   make(turn, 1),
		exposed: map[string]Rule{},
		want:    1,
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	for _, dir := range cfg.Beside {
		n.beside = append(n.beside, filepath.Join(dir, userFile))
	}
	if n.records, n.saved, err = n.known(); err != nil {
		return nil, err
	}
	now, err := save(ctx)
	if err != nil {
		return nil, err
	}
	_, n.present = now[chainID{"filter", names.forward()}]
	for _, r := range names.exposed(now) {
		n.exposed[r.Key] = r
	}
	return n, nil
}

// known is the record of subnets, together with what the bridges tell: the
// record may be lost. saved tells whether the file has all of it.
func (n *Net) known() (records map[string]userRecord, saved bool, err error) {
	state := userState{}
	if err := readState(n.file, &state); err != nil {
		return nil, false, err
	}
	records, saved = map[string]userRecord{}, true
	for owner, r := range state.Users {
		if usable(r.Subnet) {
			records[owner] = r
		}
	}
	links, err := bridgesOf(n.names.bridges(), n.names.aliasPrefix())
	if err != nil {
		return nil, false, err
	}
	for _, link := range links {
		owner := strings.TrimPrefix(link.Attrs().Alias, n.names.aliasPrefix())
		if placement.CheckName("owner", owner) != nil || n.names.bridge(owner) != link.Attrs().Name {
			continue // not marked yet
		}
		addresses, err := addressesOf(link)
		if err != nil {
			return nil, false, err
		}
		if _, recorded := records[owner]; !recorded && len(addresses) > 0 && usable(addresses[0].Masked()) {
			records[owner], saved = userRecord{Subnet: addresses[0].Masked()}, false
		}
	}
	return records, saved, nil
}
