package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"longshore/agent/console"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
	"longshore/test/cluster"
)

// socket is a person on a node, at its socket.
type socket struct {
	t    *testing.T
	link *rpc.Link
}

func onNode(t *testing.T, n *cluster.Node) socket {
	t.Helper()
	var link *rpc.Link
	cluster.Eventually(t, 20*time.Second, "the node's socket answers", func() (err error) {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		link, err = rpc.Dial(ctx, rpc.ZMQ(rpc.ZMQOptions{}), "ipc://"+n.RunDir+"/agent.sock", rpc.Config{})
		return err
	})
	t.Cleanup(func() { link.Close() })
	return socket{t, link}
}

func (s socket) call(method string, result any, args ...any) error {
	ctx, stop := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer stop()
	return s.link.Call(ctx, method, result, args...)
}

func (s socket) must(method string, result any, args ...any) {
	s.t.Helper()
	if err := s.call(method, result, args...); err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
}

// items are the first n of a stream; 0: all.
func (s socket) items(n int, method string, args ...any) (all []map[string]any) {
	s.t.Helper()
	stream, err := s.link.Stream(s.t.Context(), method, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer stream.Close()
	for n == 0 || len(all) < n {
		item := map[string]any{}
		if err := stream.Next(&item); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			s.t.Fatalf("%s: %v", method, err)
		}
		all = append(all, item)
	}
	return all
}

// refusedBy is the kind of an error that a method answered.
func refusedBy(err error) string {
	remote, ok := errors.AsType[*rpc.RemoteError](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return remote.Name
}

const web = "alice/app/web/1"

// TestNodeSocket: what people do on a node, with everything there, and with
// broadcaster and Redis gone.
func TestNodeSocket(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Nodes: 1})
	n := c.Nodes[0]
	c.PushHello("alice", "hello:latest")
	c.Must("submit", c.File("app.yaml", "name: app\nservices:"+service("web", 1, 9600, "", "hi")), "--owner", "alice")
	s := onNode(t, n)
	var d dockerd.Detail
	s.must("container_inspect", &d, web)
	if d.State != placement.CopyRunning || d.ID.Replica() != web || !strings.HasPrefix(d.Image, "alice/hello@") {
		t.Errorf("inspect: %+v", d)
	}
	late := s.publish(n)
	s.look()
	scripts(t, c, n)

	c.Broadcaster.Kill()
	c.Redis.Kill()
	s.look()
	if err := s.call("container_stop", nil, web); refusedBy(err) != placement.KindUnavailable {
		t.Errorf("stop without a broadcaster: %v", err)
	}
	knows := s.execAndKill(n)
	n.Agent.Start()
	s = onNode(t, n)
	knows(s)
	cluster.Eventually(t, 20*time.Second, "the new agent knows the port that the one before added", func() error {
		var ports []placement.Published
		s.must("port_list", &ports)
		if len(ports) != 2 || ports[1].Port != late || !ports[1].Late {
			return fmt.Errorf("%+v", ports)
		}
		return nil
	})
	answers(t, hostURL(n, late), "hi")
	s.look()

	c.Broadcaster.Start()
	c.WaitReady(1)
	s.wishes(c)
}

func hostURL(n *cluster.Node, p placement.Port) string {
	return "http://" + net.JoinHostPort(n.Address.String(), fmt.Sprint(p.Host)) + "/"
}

// publish adds a port to the running copy, and another that it takes back.
func (s socket) publish(n *cluster.Node) placement.Port {
	s.t.Helper()
	var late, again, other placement.Port
	s.must("port_add", &late, web, 9600, 9601)
	s.must("port_add", &again, web, 9600, 9601)
	if late != again {
		s.t.Errorf("added %+v, then %+v", late, again)
	}
	answers(s.t, hostURL(n, late), "hi")
	s.must("port_add", &other, web, 9999)
	s.must("port_remove", nil, web, other.Host)
	if err := s.call("port_remove", nil, web, 9600); refusedBy(err) != placement.KindRefused {
		s.t.Errorf("take back a port of the app: %v", err)
	}
	return late
}

// look does all that asks nobody but the node.
func (s socket) look() {
	t := s.t
	t.Helper()
	var copies []placement.Copy
	cluster.Eventually(t, 10*time.Second, "the copy is listed", func() error {
		s.must("container_list", &copies)
		if len(copies) != 1 || copies[0].State != placement.CopyRunning {
			return fmt.Errorf("%+v", copies)
		}
		return nil
	})
	if logs := s.items(0, "container_logs", web); len(logs) == 0 || logs[0]["stream"] != "stdout" || !strings.Contains(fmt.Sprint(logs[0]["data"]), "listening on") {
		t.Errorf("logs: %v", logs)
	}
	if stats := s.items(2, "container_stats", web); stats[1]["memory"] == int64(0) || stats[1]["pids"] == int64(0) {
		t.Errorf("stats: %v", stats)
	}
	var r console.Result
	run := console.Command{Container: web, Argv: []string{"/hello"}, Env: []string{"PORT=none"}, Key: "k1"}
	s.must("exec", &r, run)
	if r.ExitCode != 1 || !strings.Contains(fmt.Sprint(r.Stderr), "none") {
		t.Errorf("exec: %+v", r)
	}
	run.Env, run.Key = []string{"PORT=0"}, "" // it serves for ever
	began := time.Now()
	run.Timeout = 500
	s.must("exec", &r, run)
	if !r.TimedOut || !strings.Contains(fmt.Sprint(r.Stdout), "listening on") || time.Since(began) > 10*time.Second {
		t.Errorf("exec for half a second: %+v after %v", r, time.Since(began))
	}
	if items := s.items(0, "exec_stream", run); items[len(items)-1]["timed_out"] != true {
		t.Errorf("exec_stream: %v", items)
	}
	s.copyFiles()
	var images []dockerd.Image
	s.must("image_list", &images)
	var room placement.NodeCapacity
	s.must("capacity", &room)
	if len(images) != 1 || len(room.Owners) != 1 || room.Owners[0].Copies != 1 {
		t.Errorf("images %+v, capacity %+v", images, room)
	}
}

func (s socket) copyFiles() {
	s.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "note", Mode: 0o644, Size: 5}), write(w, "hello"), w.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.must("cp_in", nil, console.Upload{Container: web, Path: "/", Tar: archive.Bytes()})
	stream, err := s.link.Stream(s.t.Context(), "cp_out", web, "/note")
	if err != nil {
		s.t.Fatal(err)
	}
	defer stream.Close()
	var came []byte
	for {
		var part []byte
		if err := stream.Next(&part); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			s.t.Fatal(err)
		}
		came = append(came, part...)
	}
	r := tar.NewReader(bytes.NewReader(came))
	if h, err := r.Next(); err != nil || h.Name != "note" {
		s.t.Fatalf("%v, %v", h, err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		s.t.Errorf("the file says %q, %v", b, err)
	}
}

func write(w io.Writer, s string) error { _, err := io.WriteString(w, s); return err }

// wishes stops, starts, destroys and creates by the ledger's word.
func (s socket) wishes(c *cluster.Cluster) {
	t := s.t
	t.Helper()
	is := func(what string, r placement.Replica, state placement.State) {
		t.Helper()
		cluster.Eventually(t, 60*time.Second, what, func() error {
			all := c.Statuses(placement.Filter{Owner: "alice", Replica: r})
			if state == "" && len(all) == 0 || len(all) == 1 && all[0].State == state {
				return nil
			}
			return fmt.Errorf("%+v", all)
		})
	}
	is("it runs", web, placement.Running)
	s.must("container_stop", nil, web)
	var copies []placement.Copy
	s.must("container_list", &copies)
	if len(copies) != 0 {
		t.Errorf("after the stop there is %+v", copies)
	}
	is("it is stopped", web, placement.Done)
	if all := c.Statuses(placement.Filter{Owner: "alice", Replica: web}); all[0].Why != "stopped by operator/root" {
		t.Errorf("why it is done: %q", all[0].Why)
	}
	s.must("container_start", nil, web)
	is("it runs again", web, placement.Running)
	s.must("container_destroy", nil, web)
	is("it is gone", web, "")

	image := "hello:latest"
	s.must("container_create", nil, placement.Container{ID: "alice/app/own", Image: image, Env: []string{"PORT=0"}, Memory: 16 << 20})
	s.must("container_create", nil, placement.Container{ID: "alice/app/own", Image: image, Env: []string{"PORT=0"}, Memory: 16 << 20})
	is("it was created", "alice/app/own/1", placement.Running)

	var r console.Result
	run := console.Command{Container: "alice/app/own/1", Argv: []string{"/hello"}, Env: []string{"PORT=none"}}
	if err := c.Call("call", &r, "n1", "exec", []any{run}); err != nil || r.ExitCode != 1 {
		t.Errorf("exec by the broadcaster: %+v, %v", r, err)
	}
	out, errs, code := c.Schedctl("exec", "--owner", "alice", "-e", "PORT=none", "app/own/1", "--", "/hello")
	if code != 1 || out != "" || !strings.Contains(errs, "none") {
		t.Errorf("schedctl exec exits with %d: %s%s", code, out, errs)
	}
	if out := c.Must("logs", "app/own/1", "--owner", "alice"); !strings.Contains(out, "listening on") {
		t.Errorf("schedctl logs: %q", out)
	}
	s.must("drain", nil)
	if err := s.call("refusals", nil); err != nil {
		t.Error(err)
	}
	s.must("drain", nil, true)
	c.WaitReady(1)
}
