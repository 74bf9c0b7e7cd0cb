package appfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"longshore/internal/placement"
)

// ports checks a list of ports as written: "80", "8080:80", "53:53/udp", or a
// mapping with target, published and protocol.
func (l *linter) ports(n *item, where string) {
	if n.null {
		return
	}
	if n.kind != yaml.SequenceNode {
		l.add(problem{at: n.at, what: fmt.Sprintf("ports of %s is not a list", where), why: "ports are lines that begin with -", next: `write - "8080:80" below ports:`})
		return
	}
	taken := map[string]position{}
	for _, entry := range n.kids {
		host, container, proto, ok := l.portParts(entry, where)
		if !ok {
			continue
		}
		proto = strings.ToLower(proto)
		bad := func(what, why, next string) {
			l.add(problem{at: entry.at, what: fmt.Sprintf("port %s of %s%s", portText(host, container, proto), where, what), why: why, next: next})
		}
		switch {
		case strings.Contains(host, "-") || strings.Contains(container, "-"):
			bad(": ranges not yet", "each port is published by itself", "list the ports one by one")
		case proto != "" && proto != "tcp" && proto != "udp":
			bad(" has an unknown protocol", "it is tcp or udp", "remove /"+proto)
		case !validPort(container) || host != "" && !validPort(host):
			bad(" is no port", "ports are numbers from 1 to 65535", `write "HOST:CONTAINER", such as "8080:80"`)
		case host != "":
			key := host + "/" + strings.TrimPrefix(proto, "tcp")
			if first, twice := taken[key]; twice {
				bad(" is published twice", fmt.Sprintf("host port %s is at line %d already", host, first.line), "publish one of them on another host port")
			}
			taken[key] = entry.at
		}
	}
}

func (l *linter) portParts(entry *item, where string) (host, container, proto string, ok bool) {
	if entry.kind == yaml.MappingNode {
		before := len(l.problems)
		l.keys(entry, l.fields.port, where)
		text := func(key string) string {
			if k := entry.kid(key); k != nil && !k.null {
				return k.text
			}
			return ""
		}
		return text("published"), text("target"), text("protocol"), len(l.problems) == before
	}
	container, proto, _ = strings.Cut(entry.text, "/")
	if i := strings.LastIndex(container, ":"); i >= 0 {
		host, container = container[:i], container[i+1:]
	}
	if i := strings.LastIndex(host, ":"); i >= 0 {
		l.add(problem{at: entry.at, what: fmt.Sprintf("port %s of %s: host addresses not yet", entry.text, where), why: "a port is published on the node's address", next: fmt.Sprintf("write %q", host[i+1:]+":"+container)})
		return "", "", "", false
	}
	return host, container, proto, entry.kind == yaml.ScalarNode
}

func portText(host, container, proto string) string {
	s := container
	if host != "" {
		s = host + ":" + s
	}
	if proto != "" {
		s += "/" + proto
	}
	return s
}

func validPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == s
}

// convertPorts turns checked ports into ours.
func convertPorts(in []types.ServicePortConfig) ([]placement.Port, error) {
	var out []placement.Port
	for _, p := range in {
		port := placement.Port{Container: uint16(p.Target)}
		if p.Published != "" {
			host, err := strconv.ParseUint(p.Published, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("read published port: %w", err)
			}
			port.Host = uint16(host)
		}
		if p.Protocol != "" && p.Protocol != "tcp" {
			port.Proto = p.Protocol
		}
		out = append(out, port)
	}
	return out, nil
}
