package appfile_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"longshore/internal/appfile"
	"longshore/internal/placement"
)

var update = flag.Bool("update", false, "record the golden files again")

func options() appfile.Options {
	return appfile.Options{
		Login: "carol",
		Env:   []string{"ZONE=eu", "FROM_OUTSIDE=yes", "DIGEST=" + strings.Repeat("a", 64), "A=set"},
	}
}

// quiet fails the test if compose-go writes anything to its global log.
func quiet(t *testing.T) {
	t.Helper()
	var b strings.Builder
	before := logrus.StandardLogger().Out
	logrus.SetOutput(&b)
	t.Cleanup(func() {
		logrus.SetOutput(before)
		if b.Len() > 0 {
			t.Errorf("compose-go logged:\n%s", b.String())
		}
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return names
}

func TestLoadGood(t *testing.T) {
	quiet(t)
	for _, name := range files(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			app, warnings, err := appfile.Load(t.Context(), name, options())
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.MarshalIndent(app, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, w := range warnings {
				fmt.Fprintln(&text, w)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", text.String()+string(b)+"\n")
		})
	}
}

func TestLoadRefused(t *testing.T) {
	quiet(t)
	for _, name := range files(t, "testdata/refused/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, _, err := appfile.Load(t.Context(), name, options())
			var e *placement.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a placement.Error", err)
			}
			if e.Kind != placement.KindInvalid || e.Why == "" && e.Next == "" {
				t.Errorf("incomplete error %+v", e)
			}
			if !strings.HasPrefix(e.What, name+":") {
				t.Errorf("%q does not begin with the file's name", e.What)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", e.Error()+"\n")
		})
	}
}

// load reads text as standard input.
func load(t *testing.T, text string, change func(*appfile.Options)) (placement.App, []appfile.Warning, error) {
	t.Helper()
	o := options()
	o.Stdin = strings.NewReader(text)
	if change != nil {
		change(&o)
	}
	return appfile.Load(t.Context(), "-", o)
}

// TestEveryOtherField writes each field that Compose defines for a service and
// Longshore does not read, and wants its name and place in the error.
func TestEveryOtherField(t *testing.T) {
	quiet(t)
	read := []string{"image", "command", "environment", "ports", "restart", "deploy"}
	fields := []string{
		"annotations", "attach", "blkio_config", "build", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "configs",
		"container_name", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares",
		"cpus", "cpuset", "credential_spec", "depends_on", "develop", "device_cgroup_rules", "devices", "dns", "dns_opt",
		"dns_search", "domainname", "entrypoint", "env_file", "expose", "extends", "external_links", "extra_hosts", "gpus",
		"group_add", "healthcheck", "hostname", "init", "ipc", "isolation", "label_file", "labels", "links", "logging",
		"mac_address", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "network_mode", "networks",
		"oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "post_start", "pre_start", "pre_stop",
		"privileged", "profiles", "provider", "pull_policy", "pull_refresh_after", "read_only", "runtime", "scale", "secrets", "security_opt",
		"shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "sysctls", "tmpfs", "tty", "ulimits", "umask",
		"use_api_socket", "user", "userns_mode", "uts", "volumes", "volumes_from", "working_dir",
	}
	for _, p := range schema.AttributePaths() {
		f, ok := strings.CutPrefix(string(p), "services.*.")
		if ok && !strings.Contains(f, ".") && !slices.Contains(read, f) && !slices.Contains(fields, f) {
			t.Errorf("Compose's field %s has no test", f)
		}
	}
	for _, f := range fields {
		for _, value := range []string{"[1]", "text", "{a: b}", ""} {
			_, _, err := load(t, "services:\n  web:\n    image: x\n    "+f+": "+value+"\n", nil)
			want := "stdin:4:5: " + f + " of service web: not yet"
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", value, err, want)
			}
		}
	}
	for _, f := range append(read, "x-sched") {
		for _, value := range []string{"[[1]]", "{a: {b: {c: [d]}}}", "5", "1.5", "true", "2020-01-01", ""} {
			_, _, err := load(t, "services:\n  web:\n    image: x\n    x-same: &same\n      "+f+": "+value+"\n    <<: *same\n", nil)
			var e *placement.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%s: %s: got %v, want three parts", f, value, err)
			}
		}
	}
}

func TestOwner(t *testing.T) {
	tests := []struct{ name, top, service, flag, login, want string }{
		{"login", "", "", "", "carol", "carol"},
		{"flag", "", "", "bob", "carol", "bob"},
		{"file", "alice", "", "bob", "carol", "alice"},
		{"service", "", "dave", "bob", "carol", "dave"},
		{"both", "alice", "alice", "bob", "carol", "alice"},
		{"variable", "${A}", "", "bob", "carol", "set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := "services:\n  web:\n    image: x\n"
			if tt.service != "" {
				text += "    x-sched: {owner: " + tt.service + "}\n"
			}
			if tt.top != "" {
				text += "x-sched:\n  owner: " + tt.top + "\n"
			}
			app, _, err := load(t, text, func(o *appfile.Options) { o.Owner, o.Login = tt.flag, tt.login })
			if err != nil || app.Owner != tt.want {
				t.Errorf("got %q, %v, want %q", app.Owner, err, tt.want)
			}
		})
	}
	_, _, err := load(t, "services: {web: {image: x}}", func(o *appfile.Options) { o.Login = "j.doe" })
	if err == nil || !strings.Contains(err.Error(), "--owner NAME") {
		t.Errorf("got %v, want advice to pass --owner", err)
	}
}

func TestName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "My Shop_2")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) string {
		file := filepath.Join(dir, "app.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const services = "services: {web: {image: \"x:${COMPOSE_PROJECT_NAME}\"}}\n"
	tests := []struct{ name, text, option, want string }{
		{"directory", services, "", "myshop_2"},
		{"file", services + "name: till-${A}\n", "", "till-set"},
		{"option", services + "name: till\n", "desk", "desk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.ProjectName = tt.option
			app, _, err := appfile.Load(t.Context(), write(tt.text), o)
			if err != nil {
				t.Fatal(err)
			}
			if app.Name != tt.want || app.Services[0].Request.Image != "x:"+tt.want {
				t.Errorf("got %q with image %s, want %q", app.Name, app.Services[0].Request.Image, tt.want)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	var e *placement.Error
	_, _, err := appfile.Load(t.Context(), filepath.Join(t.TempDir(), "none.yaml"), options())
	if !errors.As(err, &e) || e.Kind != placement.KindNotFound {
		t.Errorf("no file: got %v", err)
	}
	_, _, err = appfile.Load(t.Context(), t.TempDir(), options())
	if !errors.As(err, &e) || e.Kind != placement.KindInvalid {
		t.Errorf("directory: got %v", err)
	}
	_, _, err = load(t, strings.Repeat("#", 1<<20+1), nil)
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("large file: got %v", err)
	}
	if _, _, err := appfile.Load(t.Context(), "-", options()); err == nil {
		t.Error("no standard input is an app")
	}
}

// TestBombs loads small files that unfold into much.
func TestBombs(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n")
	for i := range 9 {
		ref := strings.Repeat(fmt.Sprintf("*a%d,", i), 10)
		fmt.Fprintf(&b, "x-a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(ref, ","))
	}
	b.WriteString("services: {web: {image: x}}\n")
	for name, text := range map[string]string{
		"aliases":   b.String(),
		"itself":    "x-a: &a {<<: *a, b: *a}\nservices: {web: {image: x}}\n",
		"depth":     strings.Repeat("a: {", 5000) + strings.Repeat("}", 5000),
		"merge":     "x-a: &a {b: 1}\nservices: {web: {<<: [*a, *a], image: x}}\n",
		"variables": "services: {web: {image: \"" + strings.Repeat("${A:-", 5000) + strings.Repeat("}", 5000) + "\"}}\n",
	} {
		start := time.Now()
		_, _, err := load(t, text, nil)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
		if name != "variables" && err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestMerge(t *testing.T) {
	app, _, err := load(t, `
name: x
x-one: &one {restart: "no", image: one, environment: &env {A: one, B: one}}
x-two: &two {image: two, command: two}
services:
  web:
    <<: [*one, *two]
    environment:
      <<: *env
      B: own
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := app.Services[0].Request
	if r.Image != "one" || r.Restart != "no" || !slices.Equal(r.Command, []string{"two"}) || !slices.Equal(r.Env, []string{"A=one", "B=own"}) {
		t.Errorf("got %+v", r)
	}
	_, _, err = load(t, "x-one: &one {volumes: [a]}\nservices:\n  a: {<<: *one, image: x}\n  b: {<<: *one, image: x}\n", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "stdin:1:14: volumes of service a: not yet") {
		t.Errorf("got %v, want the place of the anchor", err)
	}
}

// TestExample loads what newcomers submit first.
func TestExample(t *testing.T) {
	app, warnings, err := appfile.Load(t.Context(), "../../examples/hello/app.yaml", options())
	if err != nil || len(warnings) > 0 {
		t.Fatalf("got %v, %v", warnings, err)
	}
	if app.Name != "hello" || len(app.Services) != 1 {
		t.Errorf("got %+v", app)
	}
}
