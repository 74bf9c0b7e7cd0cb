package bench_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	docker "github.com/docker/docker/client"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

const (
	pairs    = 50 // of submits and starts by hand
	batch    = 10 // pairs between removals: to remove takes longer than to start
	commands = 7  // runs of schedctl submit
)

// BenchmarkSubmitToRunning: from the submit call on an open connection to the
// RUNNING event on it, against create and start of the same container by the
// Docker API of the same daemon until its start event. The cluster is warm:
// the owner's daemon is up, the image is there.
func BenchmarkSubmitToRunning(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Nodes: 1})
	c.PushHello(owner, "hello:latest")
	k := dial(b, c)
	model := k.run(app("model", "hello:latest", ""))
	m := &match{c: c, k: k, hand: newByHand(b, c, model.id), parts: map[string][]time.Duration{}}
	k.remove(c, "model")
	m.hand.start("warm-up")
	for i := range pairs {
		if i%2 == 0 { // in turns, and in turns the first
			m.submit(i)
			m.byHand(i)
		} else {
			m.byHand(i)
			m.submit(i)
		}
		if (i+1)%batch == 0 {
			m.clear()
		}
	}
	ratio := float64(median(m.ours)) / float64(median(m.theirs))
	b.ReportMetric(ratio, "submit/docker")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d pairs in turns: submit to running %s, docker create+start %s: ratio %.3f (aim: 1.10 or less)",
		pairs, spread(m.ours), spread(m.theirs), ratio)
	b.Logf("medians of parts in ms: submit: %s", m.medians("created", "bound", "started", "told"))
	b.Logf("medians of parts in ms: docker: %s", m.medians("docker created", "docker started", "docker told"))

	var whole []time.Duration
	for i := range commands {
		file := c.File("cmd.yaml", fmt.Sprintf("name: cmd-%d\nservices:\n  web:\n    image: hello:latest\n    environment: {PORT: \"0\"}\n    deploy: {resources: {reservations: {cpus: \"0.02\", memory: 16M}, limits: {cpus: \"1\", memory: 64M}}}\n", i))
		rest()
		began := time.Now()
		c.Must("submit", file, "--owner", owner)
		whole = append(whole, time.Since(began))
	}
	b.Logf("schedctl submit, exec to exit: %s, %d runs", spread(whole), commands)
	b.ReportMetric(float64(median(whole))/1e6, "schedctl-ms")
}

// match is the comparison under way.
type match struct {
	c            *cluster.Cluster
	k            *client
	hand         *byHand
	ours, theirs []time.Duration
	parts        map[string][]time.Duration
	apps         []string // since the last removal
}

func (m *match) submit(i int) {
	name := fmt.Sprintf("bench-%d", i)
	rest()
	s := m.k.run(app(name, "hello:latest", ""))
	m.ours, m.apps = append(m.ours, s.took), append(m.apps, name)
	created, began, ok := m.hand.await(s.id.ContainerName(), time.Second)
	if !ok {
		return
	}
	m.part("created", created.when().Sub(s.began))
	m.part("bound", s.bound.Sub(created.when()))
	m.part("started", began.when().Sub(s.bound))
	m.part("told", s.began.Add(s.took).Sub(began.when()))
}

func (m *match) byHand(i int) {
	rest()
	name := fmt.Sprintf("by-hand-%d", i)
	began, took := m.hand.start(name)
	m.theirs = append(m.theirs, took)
	created, started, _ := m.hand.await(name, 0)
	m.part("docker created", created.when().Sub(began))
	m.part("docker started", started.when().Sub(created.when()))
	m.part("docker told", began.Add(took).Sub(started.when()))
}

func (m *match) part(name string, d time.Duration) { m.parts[name] = append(m.parts[name], d) }

func (m *match) medians(names ...string) string {
	var s []string
	for _, n := range names {
		s = append(s, "to "+strings.TrimPrefix(n, "docker ")+" "+ms(median(m.parts[n])))
	}
	return strings.Join(s, ", ")
}

// clear removes what was started.
func (m *match) clear() {
	m.hand.clear()
	m.k.remove(m.c, m.apps...)
	m.apps = nil
}

// byHand starts containers like the model by the Docker API of its daemon.
type byHand struct {
	b     *testing.B
	api   *docker.Client
	model container.InspectResponse
	news  chan news
	kept  map[string]map[events.Action]news // by the container's name
	made  []string                          // since the last clear
}

// news is an event of Docker's, and when it came.
type news struct {
	events.Message
	came time.Time
}

// when is Docker's own time of the event.
func (n news) when() time.Time { return time.Unix(0, n.TimeNano) }

func newByHand(b *testing.B, c *cluster.Cluster, model placement.ID) *byHand {
	b.Helper()
	for _, s := range c.Look().Seen {
		if s.ID != model {
			continue
		}
		api, err := cluster.Docker(s.Socket)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { api.Close() })
		h := &byHand{b: b, api: api, news: make(chan news, 10_000), kept: map[string]map[events.Action]news{}}
		if h.model, err = api.ContainerInspect(b.Context(), s.Container); err != nil {
			b.Fatal(err)
		}
		h.relabel()
		h.follow()
		return h
	}
	b.Fatalf("the container of %s is not there", model)
	return nil
}

// relabel gives the model labels of other names and the same length, so that
// nobody takes its copies for placements.
func (h *byHand) relabel() {
	labels := map[string]string{}
	for k, v := range h.model.Config.Labels {
		labels[strings.Replace(k, "longshore", "baselines", 1)] = v
	}
	h.model.Config.Labels = labels
}

func (h *byHand) follow() {
	messages, lost := h.api.Events(h.b.Context(), events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("event", "create"), filters.Arg("event", "start"))})
	go func() {
		for {
			select {
			case m := <-messages:
				h.news <- news{m, time.Now()}
			case <-lost:
				return
			}
		}
	}()
}

func (h *byHand) keep(n news) {
	name := n.Actor.Attributes["name"]
	if h.kept[name] == nil {
		h.kept[name] = map[events.Action]news{}
	}
	h.kept[name][n.Action] = n
}

// await takes in events until the start of that container came, and gives it
// with the create before it.
func (h *byHand) await(name string, limit time.Duration) (created, started news, ok bool) {
	over := time.After(limit)
	for {
		started, ok = h.kept[name][events.ActionStart]
		if ok {
			return h.kept[name][events.ActionCreate], started, true
		}
		select {
		case n := <-h.news:
			h.keep(n)
		case <-over:
			return created, started, false
		}
	}
}

// start creates and starts a container like the model. The time is that from
// the create call to the start event.
func (h *byHand) start(name string) (began time.Time, took time.Duration) {
	h.b.Helper()
	ctx := h.b.Context()
	began = time.Now()
	made, err := h.api.ContainerCreate(ctx,
		&container.Config{Image: h.model.Config.Image, Cmd: h.model.Config.Cmd, Env: h.model.Config.Env, Labels: h.model.Config.Labels},
		&container.HostConfig{
			NetworkMode: h.model.HostConfig.NetworkMode, RestartPolicy: h.model.HostConfig.RestartPolicy, Resources: h.model.HostConfig.Resources,
		}, nil, nil, name)
	if err != nil {
		h.b.Fatal(err)
	}
	h.made = append(h.made, made.ID)
	if err := h.api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		h.b.Fatal(err)
	}
	_, started, ok := h.await(name, 5*time.Second)
	if !ok {
		h.b.Fatalf("no start event of %s", name)
	}
	return began, started.came.Sub(began)
}

// clear removes all that was started.
func (h *byHand) clear() {
	var all sync.WaitGroup
	for _, id := range h.made {
		all.Go(func() {
			if err := h.api.ContainerRemove(h.b.Context(), id, container.RemoveOptions{Force: true}); err != nil {
				h.b.Error(err)
			}
		})
	}
	all.Wait()
	h.made = nil
}
