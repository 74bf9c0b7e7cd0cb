package broadcaster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"longshore/internal/placement"
)

// Bounds of an app and of one request. They keep one message, one record and
// one node's work within reason.
const (
	maxServices = 500
	maxReplicas = 10_000 // of a service, and of an app
	maxEntries  = 1_000  // of Command, of Env
	maxPorts    = 256
	maxText     = 128 << 10 // bytes of one argument or variable, the kernel's own bound
	maxRequest  = 512 << 10 // bytes of a request as JSON
	maxImage    = 512
	maxCPU      = 10_000_000 // thousandths of a core
	maxBytes    = 1 << 50
	maxRetries  = 1_000_000

	minLostAfter = placement.Millis(5_000)
	maxLostAfter = placement.Millis(3_600_000)
	maxDeadline  = placement.Millis(365 * 24 * 3_600_000)
)

func invalid(what, why, next string) error {
	return &placement.Error{Kind: placement.KindInvalid, What: what, Why: why, Next: next}
}

// Normalize checks an app and returns it in the one form in which it is
// stored: services, variables and ports in order, defaults written the short
// way. The input is not changed. Two apps that mean the same become equal.
func Normalize(app placement.App) (placement.App, error) {
	if app.V != 0 && app.V != placement.Format {
		return app, invalid(fmt.Sprintf("the app has format %d", app.V), fmt.Sprintf("this broadcaster reads format %d", placement.Format), "use a schedctl of the broadcaster's version")
	}
	app.V = placement.Format
	if err := cmp.Or(placement.CheckName("owner", app.Owner), placement.CheckName("app", app.Name)); err != nil {
		return app, err
	}
	if n := len(app.Services); n < 1 || n > maxServices {
		return app, invalid(fmt.Sprintf("app %s has %d services", app.Name, n), fmt.Sprintf("an app has 1 to %d", maxServices), "split the app, or `schedctl rm` it")
	}
	app.Services = slices.Clone(app.Services)
	slices.SortFunc(app.Services, func(a, b placement.Service) int { return cmp.Compare(a.Name, b.Name) })
	total := 0
	for i, s := range app.Services {
		if i > 0 && app.Services[i-1].Name == s.Name {
			return app, invalid(fmt.Sprintf("service %s is given twice", s.Name), "a service's name is its identity", "rename one")
		}
		var err error
		if app.Services[i], err = normalizeService(s); err != nil {
			return app, err
		}
		total += s.Replicas
	}
	if total > maxReplicas {
		return app, invalid(fmt.Sprintf("app %s has %d replicas", app.Name, total), fmt.Sprintf("all services together have at most %d", maxReplicas), "split the app")
	}
	return app, checkTokens(app)
}

// checkTokens refuses one HA token in two scopes: its replicas could meet in a
// domain that only one of them minds.
func checkTokens(app placement.App) error {
	scopes := map[string]string{}
	for _, s := range app.Services {
		token, scope := s.Request.HAToken, cmp.Or(s.Request.HADomain, "node")
		if other := scopes[token]; token != "" && other != "" && other != scope {
			return invalid(fmt.Sprintf("ha_token %s has two ha_domains", token), fmt.Sprintf("service %s says %s, and one before it %s", s.Name, scope, other), "give all services with this token one ha_domain")
		}
		scopes[token] = scope
	}
	return nil
}

func normalizeService(s placement.Service) (placement.Service, error) {
	if err := placement.CheckName("service", s.Name); err != nil {
		return s, err
	}
	where := "service " + s.Name
	if s.Replicas < 0 || s.Replicas > maxReplicas {
		return s, invalid(fmt.Sprintf("%s has %d replicas", where, s.Replicas), fmt.Sprintf("a service has 0 to %d", maxReplicas), "correct replicas")
	}
	if s.Deadline < 0 || s.Deadline > maxDeadline {
		return s, invalid(fmt.Sprintf("%s has a deadline of %d ms", where, s.Deadline), fmt.Sprintf("it is 0 for none, or up to %d", maxDeadline), "correct deadline")
	}
	r := s.Request
	if r.V != 0 && r.V != placement.Format {
		return s, invalid(fmt.Sprintf("%s has a request of format %d", where, r.V), fmt.Sprintf("this broadcaster reads format %d", placement.Format), "use a schedctl of the broadcaster's version")
	}
	r.V = placement.Format
	for _, check := range []func(*placement.Request, string) error{checkImage, checkCommand, normalizeEnv, checkAmounts, normalizePorts, normalizeRestart, normalizeRules} {
		if err := check(&r, where); err != nil {
			return s, err
		}
	}
	if b, err := json.Marshal(r); err != nil || len(b) > maxRequest {
		return s, invalid(fmt.Sprintf("the request of %s is too large", where), fmt.Sprintf("it has %d bytes, and %d are allowed", len(b), maxRequest), "put large data into the image")
	}
	s.Request = r
	return s, nil
}

func checkImage(r *placement.Request, where string) error {
	if r.Image == "" {
		return invalid(where+" has no image", "a replica is a container of an image", "write image: NAME:TAG")
	}
	if len(r.Image) > maxImage || strings.ContainsFunc(r.Image, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return invalid(fmt.Sprintf("image %.60q of %s is no reference", r.Image, where), fmt.Sprintf("a reference has up to %d letters, digits and ./:@-_", maxImage), "write NAME:TAG, HOST/NAME:TAG or NAME@sha256:DIGEST")
	}
	return nil
}

func checkCommand(r *placement.Request, where string) error {
	if len(r.Command) == 0 {
		r.Command = nil
	}
	return checkTexts("the command", where, r.Command)
}

func checkTexts(what, where string, texts []string) error {
	if len(texts) > maxEntries {
		return invalid(fmt.Sprintf("%s of %s has %d entries", what, where, len(texts)), fmt.Sprintf("at most %d are allowed", maxEntries), "put large data into the image")
	}
	for i, t := range texts {
		if len(t) >= maxText || strings.ContainsRune(t, 0) {
			return invalid(fmt.Sprintf("entry %d of %s of %s cannot be passed to a process", i+1, what, where), fmt.Sprintf("it has %d bytes of %d, or one that is 0", len(t), maxText-1), "put large data into the image")
		}
	}
	return nil
}

// normalizeEnv sorts by name. Values are never shown: they may be secrets.
func normalizeEnv(r *placement.Request, where string) error {
	if err := checkTexts("the environment", where, r.Env); err != nil {
		return err
	}
	name := func(kv string) string { n, _, _ := strings.Cut(kv, "="); return n }
	for i, kv := range r.Env {
		if n := name(kv); n == "" || n == kv {
			return invalid(fmt.Sprintf("entry %d of the environment of %s is no variable", i+1, where), "a variable is NAME=value", "correct it")
		}
	}
	env := slices.Clone(r.Env)
	slices.SortFunc(env, func(a, b string) int { return cmp.Compare(name(a), name(b)) })
	for i := 1; i < len(env); i++ {
		if name(env[i-1]) == name(env[i]) {
			return invalid(fmt.Sprintf("variable %s of %s is given twice", name(env[i]), where), "only one value can count", "remove one")
		}
	}
	r.Env = env
	if len(env) == 0 {
		r.Env = nil
	}
	return nil
}

func checkAmounts(r *placement.Request, where string) error {
	for _, a := range []struct {
		what     string
		n, bound int64
	}{
		{"needs.cpu", r.Needs.CPU, maxCPU},
		{"limits.cpu", r.Limits.CPU, maxCPU},
		{"needs.memory", r.Needs.Memory, maxBytes},
		{"limits.memory", r.Limits.Memory, maxBytes},
		{"needs.disk", r.Needs.Disk, maxBytes},
		{"limits.disk", r.Limits.Disk, 0},
	} {
		if a.n < 0 || a.n > a.bound {
			return invalid(fmt.Sprintf("%s of %s is %d", a.what, where, a.n), fmt.Sprintf("it is a number from 0 to %d", a.bound), "correct it")
		}
	}
	for _, a := range []struct {
		what        string
		need, limit int64
	}{{"cpu", r.Needs.CPU, r.Limits.CPU}, {"memory", r.Needs.Memory, r.Limits.Memory}} {
		if a.limit > 0 && a.need > a.limit {
			return invalid(fmt.Sprintf("%s reserves more %s than its limit", where, a.what), fmt.Sprintf("reservation %d, limit %d", a.need, a.limit), "raise the limit or lower the reservation")
		}
	}
	return nil
}

// normalizePorts sorts and removes repetitions. Listen takes in the container
// ports of Ports.
func normalizePorts(r *placement.Request, where string) error {
	if len(r.Ports) > maxPorts || len(r.Listen) > maxPorts {
		return invalid(fmt.Sprintf("%s has %d ports", where, max(len(r.Ports), len(r.Listen))), fmt.Sprintf("at most %d are allowed", maxPorts), "remove some")
	}
	ports := slices.Clone(r.Ports)
	hosts := map[placement.Port]bool{}
	for i, p := range ports {
		switch p.Proto {
		case "tcp":
			ports[i].Proto = ""
		case "", "udp":
		default:
			return invalid(fmt.Sprintf("port %d of %s has protocol %.20q", p.Container, where, p.Proto), "it is tcp or udp", "correct it")
		}
		if p.Container == 0 {
			return invalid(fmt.Sprintf("%s has a port without a number", where), "container ports are numbers from 1 to 65535", "correct ports")
		}
		host := placement.Port{Host: p.Host, Proto: ports[i].Proto}
		if p.Host != 0 && hosts[host] {
			return invalid(fmt.Sprintf("host port %d of %s is published twice", p.Host, where), "it can lead to one port of the container only", "publish one of them on another host port")
		}
		hosts[host] = true
	}
	slices.SortFunc(ports, func(a, b placement.Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Host, b.Host))
	})
	r.Ports = slices.Compact(ports)
	if len(r.Ports) == 0 {
		r.Ports = nil
	}
	return addListen(r, where, nil)
}

// addListen makes Listen the ports given, those it has and the TCP ports of
// Ports.
func addListen(r *placement.Request, where string, more []uint16) error {
	listen := slices.Concat(r.Listen, more)
	for _, p := range r.Ports {
		if p.Proto == "" {
			listen = append(listen, p.Container)
		}
	}
	slices.Sort(listen)
	listen = slices.Compact(listen)
	if len(listen) > 0 && listen[0] == 0 {
		return invalid(fmt.Sprintf("%s listens on a port without a number", where), "ports are numbers from 1 to 65535", "correct listen")
	}
	if len(listen) > maxPorts {
		return invalid(fmt.Sprintf("%s listens on %d ports", where, len(listen)), fmt.Sprintf("at most %d are allowed, those that its image exposes included", maxPorts), "expose fewer")
	}
	r.Listen = listen
	if len(listen) == 0 {
		r.Listen = nil
	}
	return nil
}

func normalizeRestart(r *placement.Request, where string) error {
	switch r.Restart {
	case "always", "unless-stopped":
		r.Restart = placement.RestartAlways
	case placement.RestartAlways, placement.RestartOnFailure, placement.RestartNo:
	default:
		return invalid(fmt.Sprintf("restart of %s is %.40q", where, r.Restart), "it is no, always, unless-stopped or on-failure", "leave it out to keep the service running")
	}
	if r.Retries < 0 || r.Retries > maxRetries || r.Retries > 0 && r.Restart != placement.RestartOnFailure {
		return invalid(fmt.Sprintf("%s has %d retries", where, r.Retries), fmt.Sprintf("with restart on-failure it is a number from 0 to %d", maxRetries), "correct it")
	}
	return nil
}

func normalizeRules(r *placement.Request, where string) error {
	if r.HAToken != "" {
		if err := placement.CheckName("ha_token", r.HAToken); err != nil {
			return err
		}
	}
	if r.Node != "" {
		if err := placement.CheckName("node", string(r.Node)); err != nil {
			return err
		}
	}
	switch r.HADomain {
	case "node":
		r.HADomain = ""
	case "", "rack", "zone":
	default:
		return invalid(fmt.Sprintf("ha_domain of %s is %.40q", where, r.HADomain), "it is node, rack or zone", "leave it out for node")
	}
	switch r.Net {
	case "shared":
		r.Net = placement.NetShared
	case placement.NetShared, placement.NetReplica:
	default:
		return invalid(fmt.Sprintf("net of %s is %.40q", where, r.Net), "it is shared or replica", "leave it out to share the owner's addresses")
	}
	if r.LostAfter != 0 && (r.LostAfter < minLostAfter || r.LostAfter > maxLostAfter) {
		return invalid(fmt.Sprintf("lost_after of %s is %d ms", where, r.LostAfter), fmt.Sprintf("it is 0 for the default, or from %d to %d", minLostAfter, maxLostAfter), "correct it")
	}
	return nil
}

// checkFilter refuses names that cannot match anything.
func checkFilter(f placement.Filter) error {
	for _, n := range []struct{ what, name string }{{"owner", f.Owner}, {"app", f.App}, {"service", f.Service}, {"node", string(f.Node)}} {
		if n.name == "" {
			continue
		}
		if err := placement.CheckName(n.what, n.name); err != nil {
			return err
		}
	}
	if f.Replica != "" {
		if _, err := placement.ParseReplica(string(f.Replica)); err != nil {
			return err
		}
	}
	return nil
}
