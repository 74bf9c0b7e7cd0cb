package hostnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"longshore/internal/placement"
)

// Rule is one host port: what arrives for it is sent to a container.
type Rule struct {
	Key      string         // names the rule: up to 200 of a-z, A-Z, 0-9 and /._:@+-
	Address  netip.Addr     // the node's; the zero value or 0.0.0.0 means every address of the host but loopback
	HostPort uint16         // not 0
	Proto    string         // "tcp" (also "") or "udp"
	To       netip.AddrPort // the container's address and port
}

// anywhere tells whether the rule holds for every address of the host.
func (r Rule) anywhere() bool { return r.Address.IsUnspecified() }

// checked is r with its defaults, or what is wrong with it.
func (r Rule) checked() (Rule, error) {
	if !r.Address.IsValid() {
		r.Address = netip.IPv4Unspecified()
	}
	r.Proto = cmp.Or(r.Proto, "tcp")
	why := ""
	switch {
	case !keyForm.MatchString(r.Key):
		why = fmt.Sprintf("its key %q has other characters than a-z, A-Z, 0-9 and /._:@+-, or too many", r.Key)
	case !r.Address.Is4() || !r.To.Addr().Is4():
		why = "only IPv4 addresses can be used"
	case r.HostPort == 0 || r.To.Port() == 0:
		why = "a port lies between 1 and 65535"
	case r.Proto != "tcp" && r.Proto != "udp":
		why = fmt.Sprintf("the protocol is %q, and can be tcp or udp", r.Proto)
	}
	if why != "" {
		return r, &placement.Error{Kind: placement.KindInvalid, What: "a host port cannot be exposed", Why: why}
	}
	return r, nil
}

// meets tells whether a packet could be meant for both.
func (r Rule) meets(o Rule) bool {
	return r.HostPort == o.HostPort && r.Proto == o.Proto &&
		(r.Address == o.Address || r.anywhere() || o.anywhere())
}

// Expose makes a host port lead to a container. The same rule again changes
// nothing; the key with another rule replaces the old one. A port that another
// key holds, or a program on the host, is refused with [placement.KindRefused].
// After another error the rule is not wanted, and goes with the next write if
// it got there.
func (n *Net) Expose(ctx context.Context, r Rule) error {
	r, err := r.checked()
	if err != nil {
		return err
	}
	old, had, err := n.claimPort(r)
	if err != nil {
		return err
	}
	if err := n.apply(ctx); err != nil {
		n.undo(r, old, had)
		return fmt.Errorf("expose %s: %w", r.Key, err)
	}
	return nil
}

// claimPort makes the rule wanted.
func (n *Net) claimPort(r Rule) (old Rule, had bool, err error) {
	n.mu.Lock()
	old, had = n.exposed[r.Key]
	n.mu.Unlock()
	if !had || !old.meets(r) {
		if err := portFree(r); err != nil {
			return old, had, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, had = n.exposed[r.Key]; had && old == r {
		return old, had, nil
	}
	for key, other := range n.exposed {
		if key != r.Key && other.meets(r) {
			return old, had, taken(r, "it leads to "+key+" already")
		}
	}
	n.exposed[r.Key] = r
	n.want++
	return old, had, nil
}

// undo takes back a rule that could not be written, unless somebody replaced it.
func (n *Net) undo(r, old Rule, had bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exposed[r.Key] != r || had && old == r {
		return
	}
	delete(n.exposed, r.Key)
	if had {
		n.exposed[r.Key] = old
	}
	n.want++
}

// Withdraw ends a host port. A key that is not there is withdrawn already.
// Connections that were made through it live on.
func (n *Net) Withdraw(ctx context.Context, key string) error {
	n.mu.Lock()
	_, had := n.exposed[key]
	if had {
		delete(n.exposed, key)
		n.want++
	}
	behind := n.have != n.want && n.present // an earlier one may not have been written
	n.mu.Unlock()
	if !had && !behind {
		return nil
	}
	if err := n.apply(ctx); err != nil {
		return fmt.Errorf("withdraw %s: %w", key, err)
	}
	return nil
}

// Exposed lists the rules that are wanted, those of a former process included,
// sorted by key.
func (n *Net) Exposed(_ context.Context) ([]Rule, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Values(n.exposed), func(a, b Rule) int { return cmp.Compare(a.Key, b.Key) }), nil
}

// portFree tells whether a program on the host listens where the rule would
// take its traffic away. It binds for a moment and never listens.
func portFree(r Rule) error {
	kind := unix.SOCK_STREAM
	if r.Proto == "udp" {
		kind = unix.SOCK_DGRAM
	}
	socket, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("look for the port of %s: %w", r.Key, err)
	}
	defer unix.Close(socket)      //nolint:errcheck // nothing was written
	if kind == unix.SOCK_STREAM { // else closed connections would hold the port
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("look for the port of %s: %w", r.Key, err)
		}
	}
	err = unix.Bind(socket, &unix.SockaddrInet4{Port: int(r.HostPort), Addr: r.Address.As4()})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return taken(r, "a program on the host listens there")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return taken(r, r.Address.String()+" is not an address of this host")
	case err != nil:
		return fmt.Errorf("look for the port of %s: %w", r.Key, err)
	}
	return nil
}

// taken refuses a host port.
func taken(r Rule, why string) error {
	return &placement.Error{
		Kind: placement.KindRefused,
		What: fmt.Sprintf("the host port %s/%s of %s cannot be exposed", netip.AddrPortFrom(r.Address, r.HostPort), r.Proto, r.Key),
		Why:  why,
		Next: "choose another host port, or free this one",
	}
}
