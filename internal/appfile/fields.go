package appfile

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
)

const honouredText = "so far Longshore reads image, command, environment, ports, restart, deploy.replicas, deploy.resources and x-sched"

// group is a mapping of the file: which keys it may have.
type group struct {
	prefix string   // of its keys, for people
	read   []string // honoured
	known  []string // refused with "not yet"
	extend bool     // keys x-... may be added, and are ignored with a warning
	near   []string // keys that belong one level down, as people may think they are here
}

// meant says which key was meant by one that g does not know.
func (g group) meant(key string) string {
	near := nearest(key, append(slices.Clone(g.read), g.known...))
	for _, n := range g.near {
		if _, last, _ := strings.Cut(n, "."); near == "" && nearest(key, []string{last}) != "" {
			near = n
		}
	}
	if near == "" {
		return "remove it"
	}
	return "did you mean " + near + "?"
}

// fields are the groups of a file.
type fields struct {
	top, service, deploy, resources, limits, reservations, port, sched group
}

// known lists what Compose defines below a path of its schema.
func known(prefix string) []string {
	var keys []string
	for _, p := range schema.AttributePaths() {
		s := string(p)
		if prefix != "" {
			var below bool
			if s, below = strings.CutPrefix(s, prefix+"."); !below {
				continue
			}
		}
		if !strings.ContainsAny(s, ".*") && s != "[]" {
			keys = append(keys, s)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func composeFields() fields {
	const service = "services.*"
	return fields{
		top:          group{read: []string{"name", "services", "version", "x-sched"}, known: known(""), extend: true},
		service:      group{read: []string{"image", "command", "environment", "ports", "restart", "deploy", "x-sched"}, known: known(service), extend: true, near: []string{"deploy.replicas", "deploy.resources", "x-sched.owner", "x-sched.ha_token", "x-sched.ha_domain", "x-sched.net", "x-sched.node", "x-sched.disk", "x-sched.lost_after", "x-sched.deadline"}},
		deploy:       group{prefix: "deploy.", read: []string{"replicas", "resources"}, known: known(service + ".deploy")},
		resources:    group{prefix: "deploy.resources.", read: []string{"limits", "reservations"}, known: known(service + ".deploy.resources")},
		limits:       group{prefix: "deploy.resources.limits.", read: []string{"cpus", "memory"}, known: known(service + ".deploy.resources.limits")},
		reservations: group{prefix: "deploy.resources.reservations.", read: []string{"cpus", "memory"}, known: known(service + ".deploy.resources.reservations")},
		port:         group{prefix: "ports.", read: []string{"target", "published", "protocol"}, known: known(service + ".ports.[]")},
		sched: group{
			prefix: "x-sched.",
			read:   []string{"owner", "ha_token", "ha_domain", "net", "node", "disk", "lost_after", "deadline"},
			known:  []string{"affinity", "checks", "exclusive", "expose_env", "group", "spread", "volumes", "weight"},
		},
	}
}

// advice says what to do instead of a field that is not read yet.
func advice(field string) string {
	switch field {
	case "build":
		return "build the image, `schedctl image push TAG`, then set image: TAG"
	case "scale":
		return "write deploy.replicas"
	case "env_file", "secrets", "configs":
		return "put what the service needs into environment:"
	case "volumes", "tmpfs":
		return "remove it; the container's own file system is lost with the container"
	case "expose":
		return "list the port under ports: without a host port, or EXPOSE it in the image"
	case "cpus", "mem_limit", "cpu_count", "cpu_percent", "cpu_shares", "cpu_quota", "memswap_limit":
		return "write deploy.resources.limits"
	case "mem_reservation":
		return "write deploy.resources.reservations"
	case "restart_policy":
		return "write restart: on the service"
	case "entrypoint":
		return "remove it, or build an image with it"
	case "include", "extends":
		return "copy what it includes into this file; YAML anchors work"
	case "container_name":
		return "remove it; replicas are named OWNER/APP/SERVICE/N"
	}
	return "remove it"
}
