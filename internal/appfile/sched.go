package appfile

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
	"go.yaml.in/yaml/v4"

	"longshore/internal/placement"
)

// Bounds of lost_after; placement's default is 30 s.
const (
	minLostAfter = 5 * time.Second
	maxLostAfter = time.Hour
)

// none takes a default of the top level back.
const none = "none"

// sched checks the keys and the values of an x-sched mapping, its variables
// replaced: of a service, or with where "" that of the file.
func (l *linter) sched(n *item, where string) {
	of := strings.TrimSuffix(" of "+where, " of ")
	for _, k := range l.keys(n, l.fields.sched, where) {
		if k.null {
			continue
		}
		if k.kind != yaml.ScalarNode {
			l.add(problem{at: k.at, what: fmt.Sprintf("x-sched.%s%s is not a single value", k.key, of), next: fmt.Sprintf("write %s: VALUE", k.key)})
			continue
		}
		if why, next := judgeSched(k.key, k.text); why != "" {
			l.add(problem{at: k.at, what: fmt.Sprintf("x-sched.%s%s is %q", k.key, of, k.text), why: why, next: next})
		}
	}
}

// judgeSched says why a value of x-sched is wrong, or "".
func judgeSched(key, text string) (why, next string) {
	switch key {
	case "owner", "node", "ha_token":
		if err := placement.CheckName(key, text); err != nil {
			return "names have 1 to 63 of a-z, A-Z, 0-9, - and _, and begin with a letter or digit", "choose another name"
		}
	case "ha_domain":
		if text != "node" && text != "rack" && text != "zone" {
			return "it has to be node, rack or zone", "leave it out for node"
		}
	case "net":
		if text != "shared" && text != placement.NetReplica {
			return "it has to be shared or replica", "leave it out to share the owner's addresses on the node"
		}
	case "disk":
		if n, err := units.RAMInBytes(text); err != nil || n < 1 || n > maxMemory {
			return "disk is a number of bytes with a unit b, k, m, g or t", "write an amount such as 20G"
		}
	case "lost_after":
		if d, err := time.ParseDuration(text); err != nil || d < minLostAfter || d > maxLostAfter {
			return fmt.Sprintf("it has to be a time from %s to 1h", minLostAfter), "write a time such as 30s"
		}
	case "deadline":
		if d, err := time.ParseDuration(text); err != nil || d < time.Second {
			return "it has to be a time of at least 1s", "write a time such as 10m"
		}
	}
	return "", ""
}

// sched is what the x-sched of a service, over that of the file, asks for.
type sched map[string]string

// schedOf merges checked x-sched mappings; the later ones count.
func schedOf(mappings ...*item) sched {
	s := sched{}
	for _, m := range mappings {
		if m == nil {
			continue
		}
		for _, k := range m.kids {
			if !k.null {
				s[k.key] = k.text
			}
		}
	}
	return s
}

// apply writes s into a service. The values are checked: what does not parse
// is what was not given.
func (s sched) apply(svc *placement.Service) {
	r := &svc.Request
	if t := s["ha_token"]; t != none {
		r.HAToken = t
	}
	if d := s["ha_domain"]; d != "node" {
		r.HADomain = d
	}
	if s["net"] == placement.NetReplica {
		r.Net = placement.NetReplica
	}
	r.Node = placement.NodeID(s["node"])
	r.Needs.Disk, _ = units.RAMInBytes(s["disk"])
	r.Needs.Disk = max(0, r.Needs.Disk)
	lost, _ := time.ParseDuration(s["lost_after"])
	r.LostAfter = placement.Millis(lost.Milliseconds())
	deadline, _ := time.ParseDuration(s["deadline"])
	svc.Deadline = placement.Millis(deadline.Milliseconds())
}

// owners reports a file that names two owners, and returns the one it names.
func (l *linter) owners(root *item) string {
	owner, at := "", position{}
	check := func(x *item) {
		k := x.kid("owner")
		if k == nil || k.null {
			return
		}
		if owner != "" && k.text != owner {
			l.add(problem{at: k.at, what: fmt.Sprintf("a second owner, %s", k.text), why: fmt.Sprintf("an app has one owner, and line %d says %s", at.line, owner), next: "write the services of another owner into a file of their own"})
			return
		}
		owner, at = k.text, k.at
	}
	check(root.kid("x-sched"))
	if services := root.kid("services"); services != nil {
		for _, s := range services.kids {
			check(s.kid("x-sched"))
		}
	}
	return owner
}
