package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typed is one command line, and what is to come of it.
type typed struct {
	line   string
	code   int
	stdout string // in it
	stderr string // in it
}

// runTyped runs each command line as a process would, with dir for DIR and the
// app file as standard input.
func runTyped(t *testing.T, dir string, lines []typed) {
	t.Helper()
	for _, c := range lines {
		var stdout, stderr bytes.Buffer
		args := strings.Fields(strings.ReplaceAll(c.line, "DIR", dir))
		code := run(t.Context(), args, strings.NewReader(anApp), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("schedctl %s\nexits with %d, not %d\nwanted: %s%s\nstdout: %s\nstderr: %s", c.line, code, c.code, c.stdout, c.stderr, &stdout, &stderr)
		}
		if c.code != 0 && stdout.Len() > 0 {
			t.Errorf("schedctl %s fails, and prints on stdout: %s", c.line, &stdout)
		}
	}
}

const anApp = "name: shop\nservices:\n  web:\n    image: hello:latest\n"

func TestUsage(t *testing.T) {
	t.Parallel()
	runTyped(t, "", []typed{
		{line: "", stdout: "schedctl submit app.yaml"},
		{line: "--help", stdout: "Exit codes: 0"},
		{line: "node", stdout: "give-up"},
		{line: "submit --help", stdout: "--timeout"},
		{line: "sbmit app.yaml", code: 2, stderr: "schedctl has no command \"sbmit\"\n  next: did you mean schedctl submit?"},
		{line: "frobnicate", code: 2, stderr: "next: schedctl --help lists the commands"},
		{line: "node foo", code: 2, stderr: `schedctl node has no command "foo"`},
		{line: "submit", code: 2, stderr: "schedctl submit does not take 0 arguments\n  next: schedctl submit FILE\n"},
		{line: "rm a b", code: 2, stderr: "schedctl rm does not take 2 arguments"},
		{line: "ps --nodee n1", code: 2, stderr: "unknown flag: --nodee\n  next: schedctl ps --help"},
		{line: "status a/b/c", code: 2, stderr: `"a/b/c" names no app`},
		{line: "explain web", code: 2, stderr: "a replica is APP/SERVICE/N"},
		{line: "explain shop/web/zero", code: 2, stderr: `"zero" is not a number from 1`},
		{line: "doctor --help", stdout: "exits with 1"},
		{line: "node drain --help", stdout: "one after the other"},
		{line: "guard release now", code: 2, stderr: "does not take 1 argument"},
		{line: "events --help", stdout: "by whom, and why"},
		{line: "history web", code: 2, stderr: "a replica is APP/SERVICE/N"},
		{line: "logs web", code: 2, stderr: "a replica is APP/SERVICE/N"},
		{line: "exec shop/web/1 --", code: 2, stderr: "no program is named"},
		{line: "exec shop/web/1", code: 2, stderr: "schedctl exec does not take 1 argument"},
		{line: "node label n1 zone", code: 2, stderr: `"zone" is not a label`},
		{line: "node label n1 zone=", code: 2, stderr: `"zone=" is not a label`},
		{line: "--owner A/B ps", code: 2, stderr: `owner "A/B" is not a valid name`},
		{line: "image push hello --tar a.tar --binary b", code: 2, stderr: "an image is taken from one place"},
		{line: "image push hello --expose 80", code: 2, stderr: "--binary"},
		{line: "image push hello --binary b --expose 70000", code: 2, stderr: "70000 is no port"},
		{line: "dev now", code: 2, stderr: "schedctl dev does not take 1 argument\n"},
		{line: "dev --nodes 51", code: 2, stderr: "1 to 50"},
		{line: "dev --name a-name-of-too-many-letters", code: 2, stderr: "sockets below it allow 16"},
		{line: "dev --name a/b", code: 2, stderr: "is not a valid name"},
		{line: "dev --log-level loud", code: 2, stderr: "debug, info, warn or error"},
	})
}

// No broadcaster is exit code 5; an address that can be none is 2.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runTyped(t, dir, []typed{
		{line: "--endpoint ipc://DIR/nobody ps", code: 5, stderr: "no broadcaster answers at ipc://"},
		{line: "--endpoint tcp://127.0.0.1:1 node ls", code: 5, stderr: "next: is broadcasterd running there?"},
		{line: "--endpoint tcp://127.0.0.1:1 submit - --json", code: 5, stderr: "why: "},
		{line: "--endpoint localhost:7700 ps", code: 2, stderr: "next: write tls://HOST:PORT, ipc:///PATH or tcp://HOST:PORT"},
	})
}

// What is no app is exit code 2, with the line that is wrong; nobody is asked.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty":   "",
		"text":    "hello\n",
		"broken":  "rubbish: [\n",
		"binary":  "\x00\x01\x02\xff",
		"unknown": "services:\n  web:\n    image: hello\n    imagee: hello\n",
		"later":   "services:\n  web:\n    image: hello\n    build: .\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runTyped(t, dir, []typed{
		{line: "submit DIR/nothing", code: 2, stderr: "cannot read"},
		{line: "submit DIR", code: 2, stderr: "is a directory"},
		{line: "submit DIR/empty", code: 2, stderr: "the file is empty"},
		{line: "submit DIR/text", code: 2, stderr: "text:1:1"},
		{line: "submit DIR/broken", code: 2, stderr: "broken:1:1: this is not YAML"},
		{line: "submit DIR/binary", code: 2, stderr: "this is not YAML"},
		{line: "submit DIR/unknown", code: 2, stderr: "unknown:4:5: unknown key imagee"},
		{line: "submit DIR/later", code: 2, stderr: "not yet"},
	})
}
