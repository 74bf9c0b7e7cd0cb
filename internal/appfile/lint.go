package appfile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"go.yaml.in/yaml/v4"

	"longshore/internal/placement"
)

// linter judges the tree of a file: every key, and the form of each value
// whose error would be hard to understand if it came from compose-go.
type linter struct {
	fields   fields
	lookup   func(string) (string, bool)
	problems []problem
	warnings []Warning
}

func (l *linter) add(p problem) { l.problems = append(l.problems, p) }

func (l *linter) warn(at position, text string) {
	l.warnings = append(l.warnings, Warning{Line: at.line, Column: at.col, Text: text})
}

// keys checks that n is a mapping and reports each key that g does not read.
// It returns the entries to go on with, in the order of the file. where is
// the service it belongs to, or "".
func (l *linter) keys(n *item, g group, where string) []*item {
	if n == nil || n.null {
		return nil
	}
	if n.kind != yaml.MappingNode {
		what := cmp.Or(strings.TrimSuffix(g.prefix, "."), "the file")
		if where != "" {
			what = strings.TrimPrefix(strings.TrimSuffix(g.prefix, ".")+" of "+where, " of ")
		}
		l.add(problem{at: n.at, what: what + " is not a mapping", why: "it has to hold `key: value` lines", next: "indent what belongs to it"})
		return nil
	}
	var read []*item
	for _, k := range n.kids {
		what := g.prefix + k.key
		if where != "" {
			what += " of " + where
		}
		switch {
		case slices.Contains(g.read, k.key):
			read = append(read, k)
		case slices.Contains(g.known, k.key):
			l.add(problem{at: k.at, what: what + ": not yet", why: honouredText, next: advice(k.key)})
		case g.extend && strings.HasPrefix(k.key, "x-") && nearest(k.key, []string{"x-sched"}) == "":
			l.warn(k.at, what+" is ignored")
		default:
			l.add(problem{at: k.at, what: "unknown key " + what, why: "neither Compose nor Longshore defines it", next: g.meant(k.key)})
		}
	}
	return read
}

// file checks the whole tree.
func (l *linter) file(root *item) {
	if root.kind != yaml.MappingNode {
		l.keys(root, l.fields.top, "")
		return
	}
	top := l.keys(root, l.fields.top, "")
	for _, k := range top {
		switch k.key {
		case "version":
			l.warn(k.at, "version is obsolete in Compose and ignored")
		case "name":
			l.expandAll(k)
		case "x-sched":
			l.expandAll(k)
			l.sched(k, "")
		}
	}
	services := root.kid("services")
	if services == nil || services.kind != yaml.MappingNode || len(services.kids) == 0 {
		at := root.at
		if services != nil {
			at = services.at
		}
		l.add(problem{at: at, what: "the file has no services", why: "an app is one or more services with an image each", next: "write services:, below it a name, below that image:"})
		return
	}
	for _, s := range services.kids {
		l.service(s)
	}
}

func (l *linter) service(s *item) {
	where := "service " + s.key
	if err := placement.CheckName("service", s.key); err != nil {
		l.addErr(s.at, err)
		return
	}
	fields := l.keys(s, l.fields.service, where)
	if s.kind != yaml.MappingNode && !s.null {
		return
	}
	if s.kid("image") == nil || s.kid("image").null {
		if s.kid("build") == nil {
			l.add(problem{at: s.at, what: where + " has no image", why: "a replica is a container of an image", next: "write image: NAME:TAG; `schedctl image push` brings it into the cluster"})
		}
	}
	for _, f := range fields {
		l.expandAll(f)
		switch f.key {
		case "deploy":
			l.deploy(f, where)
		case "ports":
			l.ports(f, where)
		case "restart":
			l.restart(f, where)
		case "x-sched":
			l.sched(f, where)
		case "command":
			l.command(f, where)
		}
	}
}

// expandAll replaces the variables of all text below n.
func (l *linter) expandAll(n *item) {
	if n.kind == yaml.ScalarNode && strings.Contains(n.text, "$") {
		text, err := expand(n.text, l.lookup)
		var u *unset
		switch {
		case errors.As(err, &u):
			p := problem{at: n.at, what: u.Error(), why: fmt.Sprintf("%s is %q", n.path, n.text), next: fmt.Sprintf("export %s=..., or write ${%s:-default}; a plain $ is written $$", u.name, u.name)}
			if u.reason != "" {
				p.why = u.reason
			}
			l.add(p)
		case err != nil:
			l.add(problem{at: n.at, what: n.path + " has a broken variable", why: fmt.Sprintf("%q: a variable is $NAME or ${NAME}", n.text), next: "a plain $ is written $$"})
		}
		n.text = text
	}
	for _, k := range n.kids {
		l.expandAll(k)
	}
}

func (l *linter) deploy(n *item, where string) {
	for _, f := range l.keys(n, l.fields.deploy, where) {
		if f.key == "replicas" {
			if r, err := strconv.Atoi(f.text); !f.null && (err != nil || r < 0 || r > maxReplicas) {
				l.add(problem{at: f.at, what: fmt.Sprintf("replicas of %s is %q", where, f.text), why: fmt.Sprintf("it has to be a number from 0 to %d", maxReplicas), next: "write a number"})
			}
			continue
		}
		for _, part := range l.keys(f, l.fields.resources, where) {
			g := l.fields.limits
			if part.key == "reservations" {
				g = l.fields.reservations
			}
			for _, r := range l.keys(part, g, where) {
				l.amount(r, g, where)
			}
		}
	}
}

// amount checks cpus or memory.
func (l *linter) amount(r *item, g group, where string) {
	if r.null {
		return
	}
	what := fmt.Sprintf("%s of %s is %q", g.prefix+r.key, where, r.text)
	if r.key == "cpus" {
		if c, err := strconv.ParseFloat(r.text, 64); err != nil || math.IsNaN(c) || c < 0.001 || c > maxCPUs {
			l.add(problem{at: r.at, what: what, why: fmt.Sprintf("cpus are cores, from 0.001 to %d", maxCPUs), next: "write a number such as 0.5"})
		}
		return
	}
	if m, err := units.RAMInBytes(r.text); err != nil || m < 1 || m > maxMemory {
		l.add(problem{at: r.at, what: what, why: "memory is a number of bytes with a unit b, k, m or g", next: "write an amount such as 512m"})
	}
}

func (l *linter) restart(n *item, where string) {
	if n.null {
		return
	}
	if _, _, err := restartPolicy(n.text); err != nil {
		l.add(problem{at: n.at, what: fmt.Sprintf("restart of %s is %q", where, n.text), why: "it has to be no, always, unless-stopped, on-failure or on-failure:TIMES", next: "leave it out to keep the service running"})
	}
}

func (l *linter) command(n *item, where string) {
	empty := n.kind == yaml.SequenceNode && len(n.kids) == 0 || n.kind == yaml.ScalarNode && strings.TrimSpace(n.text) == ""
	if empty && !n.null {
		l.add(problem{at: n.at, what: fmt.Sprintf("an empty command of %s: not yet", where), why: "without command: the image's own is run", next: "remove it"})
	}
}

// addErr reports another package's error at a place of the file.
func (l *linter) addErr(at position, err error) {
	if e, ok := errors.AsType[*placement.Error](err); ok {
		l.add(problem{at: at, what: e.What, why: e.Why, next: e.Next})
		return
	}
	l.add(problem{at: at, what: err.Error()})
}
