package main_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHello builds the program as the image has it, asks it over HTTP and
// tells it to stop.
func TestHello(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	program := filepath.Join(t.TempDir(), "hello")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	hello := exec.CommandContext(ctx, program)
	hello.Env = []string{"PORT=0", "GREETING=ahoy"}
	out, err := hello.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hello.Start(); err != nil {
		t.Fatal(err)
	}
	defer hello.Process.Kill()
	lines := bufio.NewScanner(out)
	lines.Scan()
	_, port, found := strings.Cut(lines.Text(), "]:")
	if !found {
		t.Fatalf("first line is %q", lines.Text())
	}
	for path, want := range map[string]string{"/": "ahoy from ", "/healthz": "ok\n"} {
		if got := get(t, "http://127.0.0.1:"+port+path); !strings.HasPrefix(got, want) {
			t.Errorf("%s answers %q, not %q", path, got, want)
		}
	}
	began := time.Now()
	if err := hello.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // Wait closes the pipe
	}
	if err := hello.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
