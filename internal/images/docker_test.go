package images_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"longshore/internal/images"
)

// dockerd is a Docker daemon of the test's own, spoken to over its socket.
type dockerd struct{ http *http.Client }

func startDockerd(t *testing.T) dockerd {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "d.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dockerd", "--host", "unix://"+socket, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid",
		"--config-file", dir+"/none.json", "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	if err := os.WriteFile(dir+"/none.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = cmd.Process.Signal(syscall.SIGTERM) // it ends its containerd too
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("dockerd does not end")
			_ = cmd.Process.Kill()
			<-ended
		}
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("dockerd said:\n%s", text)
		}
		for _, m := range mountsUnder(t, dir) {
			_ = syscall.Unmount(m, syscall.MNT_DETACH)
		}
	})
	d := dockerd{&http.Client{Transport: tr}}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if resp, _, err := do(t, d.http, "GET", "http://docker/_ping", nil); err == nil && resp.StatusCode == http.StatusOK {
			return d
		}
		select {
		case <-ended:
			t.Fatal("dockerd ended")
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("dockerd does not answer")
		}
	}
}

// mountsUnder is the mount points in dir, the deepest first.
func mountsUnder(t *testing.T, dir string) (mounts []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], dir+"/") {
			mounts = append([]string{f[1]}, mounts...)
		}
	}
	return mounts
}

// pull gives back the error that the daemon's stream of progress ends with.
func (d dockerd) pull(t *testing.T, image string) error {
	t.Helper()
	resp, stream, err := do(t, d.http, "POST", "http://docker/images/create?fromImage="+url.QueryEscape(image), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, stream)
	}
	for dec := json.NewDecoder(strings.NewReader(stream)); ; {
		var line struct{ Error string }
		if err := dec.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return fmt.Errorf("%s", line.Error)
		}
	}
}

// TestDockerd carries an image made without Docker to a real daemon, by the
// mirror on loopback, out of that daemon again as `docker save` does, and back
// into the registry as another owner's.
func TestDockerd(t *testing.T) {
	d := startDockerd(t)
	r := openRegistry(t, t.TempDir(), images.Options{})
	s := serve(t, r)
	mirror := strings.TrimPrefix(serve(t, newMirror(t, s.URL, t.TempDir(), images.MirrorOptions{})).URL, "http://")

	program := hello(t)
	img, err := images.FromBinary(program, images.Binary{Expose: []uint16{8080}, Args: []string{"-x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.Push(t.Context(), images.Destination{Registry: s.URL, Owner: "alice"}, "hello", nil); err != nil {
		t.Fatal(err)
	}
	found, err := r.Resolve(t.Context(), "alice", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.pull(t, mirror+"/"+found.Image); err != nil {
		t.Fatal(err)
	}
	if err := d.pull(t, mirror+"/alice/missing@"+found.Digest); err == nil || !strings.Contains(err.Error(), "the cluster's registry has no alice/missing") {
		t.Errorf("pull of a missing image: %v", err)
	}
	s.Close()
	if err := d.pull(t, mirror+"/"+found.Image); err != nil {
		t.Errorf("pull again without the registry: %v", err)
	}
	if err := d.pull(t, mirror+"/alice/hello:latest"); err == nil || !strings.Contains(err.Error(), "cannot be asked") {
		t.Errorf("pull of a tag without the registry: %v", err)
	}

	resp, tar, err := do(t, d.http, "GET", "http://docker/images/"+mirror+"/"+found.Image+"/get", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("save: %v %v", err, resp)
	}
	back := serve(t, r)
	pushed, err := images.PushStream(t.Context(), images.Destination{Registry: back.URL, Owner: "bob"}, "hi:2", bytes.NewReader([]byte(tar)), nil)
	if err != nil {
		t.Fatal(err)
	}
	hi, err := r.Resolve(t.Context(), "bob", "hi:2")
	if err != nil || hi.Digest != pushed || len(hi.Listen) != 1 || hi.Listen[0] != 8080 {
		t.Errorf("bob's is %v, not %s: %v", hi, pushed, err)
	}
	got, err := pull(t.Context(), t, back.URL, hi.Image)
	if err != nil || got != pushed {
		t.Errorf("bob's is pulled as %s: %v", got, err)
	}
}
