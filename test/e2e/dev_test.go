package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"longshore/internal/placement"
	"longshore/test/cluster"
)

// TestDevLeavesNothing: however a dev cluster ends, the machine is as it was
// before, and what others run on it (a Docker of somebody's own with a
// container, bridges, rules, another dev cluster) has felt nothing.
func TestDevLeavesNothing(t *testing.T) {
	if !inBox(t) {
		return
	}
	foreign := startForeign(t)
	other := startDev(t, "other")
	other.says("ready")
	other.run("beside", 1, 8301)
	foreign.answers()
	before := settled(t)

	for _, end := range devEnds {
		t.Run(end.name, func(t *testing.T) {
			began := time.Now()
			end.test(t, before)
			cluster.Eventually(t, 40*time.Second, "the machine is as it was", func() error { return before.same(lookAround(t, notOurs...)) })
			foreign.answers()
			other.t = t
			other.answers("beside", 1, 8301)
			t.Logf("%.1f s", time.Since(began).Seconds())
		})
	}
}

// devEnds are the ways in which a dev cluster may end. Each leaves the rest to
// whoever cleans up.
var devEnds = []struct {
	name string
	test func(t *testing.T, before machine)
}{
	{"ctrl-c", devCtrlC},
	{"terminal closed", devHangup},
	{"terminated twice", devTerminatedTwice},
	{"killed", devKilled},
	{"killed with its janitor", devKilledWithJanitor},
	{"killed while starting", devKilledStarting},
	{"ended while starting", devEndedStarting},
	{"cannot start", devCannotStart},
	{"without redis", devWithoutRedis},
	{"test cluster", testCluster},
}

// devCtrlC: ^C typed at the terminal ends it in order; redis-server, which was
// killed before, had been started again.
func devCtrlC(t *testing.T, _ machine) {
	d := startDev(t, "mine", onTerminal)
	d.says("ready")
	d.run("app", 2, 8302)

	redis := redisOf(t, "mine")
	if err := syscall.Kill(redis, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, 20*time.Second, "redis-server is started again", func() error {
		if again := redisOf(t, "mine"); again == 0 || again == redis {
			return os.ErrNotExist
		}
		return nil
	})
	d.run("more", 1, 8303)

	second := startDev(t, "mine")
	second.ends(1)
	complains(t, second, `a dev cluster named "mine" is up already`, "schedctl dev --name")

	if _, err := d.tty.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	d.ends(0)
	d.says("all gone")
	if said := d.output(); strings.Count(said, "level=") != 1 {
		t.Error("it logs at an ordinary start and end, where only redis-server's end is worth it")
	}
}

// devHangup: the window is closed, so that it cannot even write any more.
func devHangup(t *testing.T, _ machine) {
	d := startDev(t, "mine", onTerminal)
	d.says("ready")
	d.run("app", 2, 8302)
	d.tty.Close()
	<-d.done
}

// devTerminatedTwice: whoever is impatient gets the prompt back, and the work
// is done all the same. A submit was on its way.
func devTerminatedTwice(t *testing.T, _ machine) {
	d := startDev(t, "mine")
	d.says("ready")
	d.run("app", 1, 8302)
	d.schedctl("submit", "--detach", d.file("late", 2, 8304))
	d.signal(syscall.SIGTERM)
	d.says("stopping")
	d.signal(syscall.SIGTERM)
	<-d.done
}

func devKilled(t *testing.T, _ machine) {
	d := startDev(t, "mine")
	d.says("ready")
	d.run("app", 1, 8302)
	d.schedctl("submit", "--detach", d.file("late", 2, 8304))
	d.signal(syscall.SIGKILL)
	<-d.done
}

// devKilledWithJanitor: with nobody there to clean up, the next one does.
func devKilledWithJanitor(t *testing.T, before machine) {
	d := startDev(t, "mine")
	d.says("ready")
	d.run("app", 2, 8302)
	if err := syscall.Kill(d.janitor(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGKILL)
	<-d.done
	if left := before.diff(lookAround(t, notOurs...)); !strings.Contains(left, "rules: ") || !strings.Contains(left, "processes: ") || !strings.Contains(left, "cgroups: ") || !strings.Contains(left, "mounts: ") || !strings.Contains(left, "links: ") || !strings.Contains(left, "files: ") {
		t.Errorf("what nobody removed is not seen, only:%s", left)
	}

	next := startDev(t, "mine")
	next.says("removing what a former dev cluster")
	next.says("ready")
	if left := next.schedctl("ps", "--json"); left != "" {
		t.Errorf("it remembers: %s", left)
	}
	next.run("app", 2, 8302)
	next.signal(syscall.SIGINT)
	next.ends(0)
}

// devSteps are what it says while it starts, in order.
var devSteps = []string{"redis-server keeps", "broadcaster listens", "node n1", "node n2", "ready"}

func devKilledStarting(t *testing.T, _ machine) {
	for _, step := range devSteps {
		d := startDev(t, "mine")
		d.says(step)
		d.signal(syscall.SIGKILL)
		<-d.done
		cluster.Eventually(t, 30*time.Second, "it is cleaned up", func() error {
			if _, err := os.Stat("/var/lib/longshore-dev/mine.lock"); err == nil {
				return os.ErrExist
			}
			return nil
		})
	}
}

func devEndedStarting(t *testing.T, _ machine) {
	for _, step := range devSteps {
		d := startDev(t, "mine")
		d.says(step)
		d.signal(syscall.SIGINT)
		d.ends(0)
		if said := d.output(); strings.Contains(said, "schedctl:") || strings.Contains(said, "level=") {
			t.Errorf("ended after %q, it said:\n%s", step, said)
		}
	}
}

// devCannotStart: what is wrong is said in three lines, and nothing is left.
func devCannotStart(t *testing.T, _ machine) {
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "redis-server"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, "mine", withEnv("PATH="+bad+":"+os.Getenv("PATH")))
	d.ends(1)
	if !strings.Contains(d.output(), "start redis-server") {
		t.Errorf("it said:\n%s", d.output())
	}

	d = startDev(t, "mine", withUser(65534))
	d.ends(1)
	complains(t, d, "must be root", "sudo")

	for _, name := range []string{"a/b", "..", "-x", "a-name-of-too-many-letters"} {
		d = startDev(t, name)
		d.ends(2)
	}

	t.Run("without programs", func(t *testing.T) {
		for _, program := range []string{"/usr/sbin/dockerd", "/usr/sbin/iptables-restore"} { // and what else that file is
			hide(t, program)
		}
		d := startDev(t, "mine")
		d.ends(1)
		complains(t, d, "nor in the system's directories: dockerd, iptables-save, iptables-restore", "make setup")
	})
}

// hide makes a program vanish from the box until the test ends.
func hide(t *testing.T, program string) {
	t.Helper()
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/dev/null", program, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(program, 0); err != nil {
			t.Error(err)
		}
	})
}

// complains wants an error of three lines with these words.
func complains(t *testing.T, d *devRun, words ...string) {
	t.Helper()
	said := d.output()
	for _, w := range append(words, "schedctl: ", "\n  why: ", "\n  next: ") {
		if !strings.Contains(said, w) {
			t.Errorf("it does not say %q, but:\n%s", w, said)
		}
	}
}

func devWithoutRedis(t *testing.T, _ machine) {
	d := startDev(t, "mine", withEnv("PATH=/nowhere"))
	d.says("no redis-server on this machine")
	d.says("ready")
	d.run("app", 2, 8302)
	d.signal(syscall.SIGINT)
	d.ends(0)
}

// testCluster: the tests' own cluster of processes leaves nothing either.
func testCluster(t *testing.T, _ machine) {
	t.Run("itself", func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Nodes: 1})
		c.PushHello("alice", "hello:latest")
		c.Must("submit", c.File("app.yaml", "name: app\nservices:"+service("web", 1, 8305, "", "app")), "--owner", "alice")
		if s := c.Statuses(placement.Filter{}); len(s) != 1 || s[0].State != placement.Running {
			t.Errorf("%+v", s)
		}
	})
}
