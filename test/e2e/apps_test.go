package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// service is a Compose service of the example program that listens on a port
// of its own and says its greeting.
func service(name string, replicas, port int, token, greeting string) string {
	s := fmt.Sprintf(`
  %s:
    image: hello:latest
    environment: {PORT: "%d", GREETING: "%s"}
    ports: ["%d:%d"]
    deploy:
      replicas: %d
      resources: {reservations: {cpus: "0.01", memory: 8M}}
`, name, port, greeting, port, port, replicas)
	if token != "" {
		s += fmt.Sprintf("    x-sched: {ha_token: %s}\n", token)
	}
	return s
}

// TestThirtyReplicas: ten services of three replicas, each service with an HA
// token and a port of its own, run and answer on three nodes; a fourth replica
// waits, and explain says why.
func TestThirtyReplicas(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.PushHello("shop", "hello:latest")
	app := "name: shop\nservices:"
	for i := range 10 {
		app += service(fmt.Sprintf("s%d", i), 3, 9000+i, fmt.Sprintf("shop-s%d", i), fmt.Sprintf("greetings of s%d", i))
	}
	began := time.Now()
	c.Must("submit", c.File("shop.yaml", app), "--owner", "shop", "--timeout", "90s")
	t.Logf("30 replicas ran after %.1f s", time.Since(began).Seconds())

	for _, n := range c.Nodes {
		for i := range 10 {
			answers(t, fmt.Sprintf("http://%s:%d/", n.Address, 9000+i), fmt.Sprintf("greetings of s%d", i))
		}
	}
	perNode := map[string]int{}
	for _, s := range c.Look().Seen {
		if s.Running {
			perNode[s.Node+" "+s.ID.Replica().Service()]++
		}
	}
	if len(perNode) != 30 {
		t.Errorf("copies by node and service: %v", perNode)
	}

	four := strings.Replace(app, service("s0", 3, 9000, "shop-s0", "greetings of s0"), service("s0", 4, 9000, "shop-s0", "greetings of s0"), 1)
	_, stderr, code := c.Schedctl("submit", c.File("shop.yaml", four), "--owner", "shop", "--timeout", "5s")
	if code != 3 {
		t.Errorf("submit of a fourth replica exits with %d: %s", code, stderr)
	}
	text := c.Must("explain", "shop/shop/s0/4")
	t.Log("\n" + text)
	for _, want := range []string{"waiting", "3 of 3", "ha_token shop-s0", "held by shop/shop/s0/"} {
		if !strings.Contains(text, want) {
			t.Errorf("explain does not say %q", want)
		}
	}
}

// answers waits until the page holds the text: a program that runs may take a
// moment to listen.
func answers(t *testing.T, url, want string) {
	t.Helper()
	cluster.Eventually(t, 5*time.Second, url+" answers", func() error {
		body, err := cluster.Get(url)
		if err == nil && !strings.Contains(body, want) {
			err = fmt.Errorf("it says %q, not %q", body, want)
		}
		return err
	})
}

// TestSubmitIsIdempotent: the same file again changes nothing, a changed one
// replaces only what changed, replica by replica; rm ends it all, and a submit
// after it begins anew.
func TestSubmitIsIdempotent(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.PushHello("alice", "hello:latest")
	app := func(greeting string) string {
		return c.File("app.yaml", "name: site\nservices:"+service("web", 3, 9100, "web", greeting)+service("api", 1, 9101, "", "api"))
	}
	c.Must("submit", app("one"), "--owner", "alice")
	first := containers(c)
	if out := c.Must("submit", app("one"), "--owner", "alice"); !strings.Contains(out, "unchanged") {
		t.Errorf("the same file again: %s", out)
	}
	if again := containers(c); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the same file again changed containers: %v, were %v", again, first)
	}

	out := c.Must("submit", app("two"), "--owner", "alice")
	t.Log("\n" + out)
	changed := containers(c)
	for r, id := range first {
		if same := changed[r] == id; same != (r.Service() == "api") {
			t.Errorf("%s: container %.12s, was %.12s", r, changed[r], id)
		}
	}
	for _, n := range c.Nodes {
		answers(t, fmt.Sprintf("http://%s:9100/", n.Address), "two")
	}

	c.Must("rm", "site", "--owner", "alice")
	if left := containers(c); len(left) > 0 {
		t.Errorf("after rm there are %v", left)
	}
	if _, stderr, code := c.Schedctl("rm", "alice/site"); code != 1 || !strings.Contains(stderr, "no app") {
		t.Errorf("rm again: exit code %d: %s", code, stderr)
	}
	c.Must("submit", app("two"), "--owner", "alice")
}

// containers are the running containers by replica.
func containers(c *cluster.Cluster) map[placement.Replica]string {
	ids := map[placement.Replica]string{}
	for _, s := range c.Look().Seen {
		if s.Running {
			ids[s.ID.Replica()] = s.Container
		}
	}
	return ids
}

// TestTwoOwners: alice and bob push different content under one tag and submit
// the same file with the same listening ports; each gets their own, also after
// a failover. A fixed host port that is asked for twice on the only node waits
// with that reason.
func TestTwoOwners(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 2})
	c.PushHello("alice", "hello:latest", "--expose", "8080")
	c.PushHello("bob", "hello:latest", "--env", "GREETING=bob's own")
	const app = `
name: shop
services:
  web:
    image: hello:latest
    ports: ["8080"]
    deploy: {resources: {reservations: {cpus: "0.01", memory: 8M}}}
    x-sched: {node: n1}
`
	file := c.File("shop.yaml", app)
	c.Must("submit", file, "--owner", "alice")
	c.Must("submit", file, "--owner", "bob")
	images := map[string]string{}
	for _, s := range c.Statuses(placement.Filter{App: "shop"}) {
		if s.Node != "n1" || s.State != placement.Running {
			t.Errorf("%s is %s on %s: %s", s.Replica, s.State, s.Node, s.Why)
		}
		images[s.Replica.Owner()] = s.Image
	}
	if images["alice"] == images["bob"] || !strings.HasPrefix(images["alice"], "alice/hello@sha256:") || !strings.HasPrefix(images["bob"], "bob/hello@sha256:") {
		t.Errorf("images: %v", images)
	}

	// Anywhere, with ports on the node's address: each answers with their own.
	anywhere := func(owner string, port int) string {
		return c.File(owner+".yaml", fmt.Sprintf("name: site\nservices:\n  web:\n    image: hello:latest\n    ports: [\"%d:8080\"]\n    deploy: {resources: {reservations: {cpus: \"0.01\", memory: 8M}}}\n", port))
	}
	c.Must("rm", "shop", "--owner", "alice")
	c.Must("rm", "shop", "--owner", "bob")
	c.Must("submit", anywhere("alice", 9201), "--owner", "alice")
	c.Must("submit", anywhere("bob", 9202), "--owner", "bob")
	c.PushHello("alice", "hello:latest", "--env", "GREETING=pushed later") // changes nothing that runs
	both := func() error {
		for owner, want := range map[string]string{"alice": "hello from", "bob": "bob's own from"} {
			port := map[string]int{"alice": 9201, "bob": 9202}[owner]
			s := c.Statuses(placement.Filter{Owner: owner, App: "site"})
			if len(s) != 1 || s[0].State != placement.Running {
				return fmt.Errorf("%s: %+v", owner, s)
			}
			body, err := cluster.Get(fmt.Sprintf("http://%s:%d/", s[0].Address, port))
			if err != nil || !strings.HasPrefix(body, want) {
				return fmt.Errorf("%s on %s answers %q, %w", owner, s[0].Node, body, err)
			}
		}
		return nil
	}
	cluster.Eventually(t, 10*time.Second, "both answer", both)
	for _, n := range c.Nodes {
		for _, s := range c.Statuses(placement.Filter{App: "site"}) {
			if string(s.Node) == n.Name {
				t.Logf("give up %s, which runs %s", n.Name, s.Replica)
				n.KillWhole()
				c.Must("node", "give-up", n.Name)
				cluster.Eventually(t, 30*time.Second, "both answer after the failover", both)
				fixedPortTwice(t, c)
				return
			}
		}
	}
}

// fixedPortTwice: one node is left, and the port 9300 is asked for twice.
func fixedPortTwice(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	file := c.File("port.yaml", "name: port\nservices:\n  web:\n    image: hello:latest\n    ports: [\"9300:8080\"]\n    x-sched: {net: replica}\n    deploy: {resources: {reservations: {cpus: \"0.01\", memory: 8M}}}\n")
	c.Must("submit", file, "--owner", "alice")
	if _, _, code := c.Schedctl("submit", file, "--owner", "bob", "--timeout", "4s"); code != 3 {
		t.Errorf("the second submit exits with %d", code)
	}
	text := c.Must("explain", "bob/port/web/1")
	t.Log("\n" + text)
	if !strings.Contains(text, "host_port") || !strings.Contains(text, "9300") || !strings.Contains(text, "alice/port/web/1") {
		t.Error("explain does not name the port and who holds it")
	}
}
