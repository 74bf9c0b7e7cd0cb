package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is what lives on a machine at one moment, by kind, in order. Two of
// them that are equal mean that nothing was left, and nothing was taken.
type machine map[string][]string

// look lists everything on this machine (a box: see inBox), but what lies below
// the directories that are named.
func lookAround(t *testing.T, but ...string) machine {
	t.Helper()
	m := machine{
		"processes": processes(),
		"mounts":    mounts(t),
		"cgroups":   tree(fs.FileMode.IsDir, nil, "/sys/fs/cgroup"),
		"files":     tree(func(fs.FileMode) bool { return true }, but, "/run", "/var/lib"),
		"sockets":   unixSockets(t),
		"listeners": listeners(t),
		"links":     addresses(t),
		"rules":     rules(t),
		"spaces":    networkNamespaces(),
	}
	return m
}

// diff is what was taken from the machine (-) and left on it (+); "" if it is
// the same.
func (m machine) diff(later machine) string {
	if cmp.Equal(m, later) {
		return ""
	}
	text := ""
	for kind, before := range m {
		for _, line := range before {
			if !slices.Contains(later[kind], line) {
				text += fmt.Sprintf("\n- %s: %s", kind, line)
			}
		}
		for _, line := range later[kind] {
			if !slices.Contains(before, line) {
				text += fmt.Sprintf("\n+ %s: %s", kind, line)
			}
		}
	}
	return text
}

// processes are "pid argv" of all but this test and what has ended.
func processes() []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, file := range files {
		pid := filepath.Base(filepath.Dir(file))
		argv, err := os.ReadFile(file)
		if err != nil || len(argv) == 0 || pid == "1" || pid == fmt.Sprint(os.Getpid()) {
			continue // it has ended, or is of the kernel
		}
		found = append(found, pid+" "+strings.TrimSpace(strings.ReplaceAll(string(argv), "\x00", " ")))
	}
	slices.Sort(found)
	return found
}

func mounts(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		found = append(found, fmt.Sprintf("%s of %s at %s", fields[3], fields[len(fields)-2], fields[4]))
	}
	slices.Sort(found)
	return found
}

// tree lists what is below the directories, except below those in but.
func tree(want func(fs.FileMode) bool, but []string, dirs ...string) []string {
	var found []string
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // it went meanwhile
			}
			if want(e.Type()) {
				found = append(found, path)
			}
			if slices.Contains(but, path) {
				return fs.SkipDir
			}
			return nil
		})
	}
	return found
}

// unixSockets are the paths and names of this network namespace's.
func unixSockets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 8 && fields[0] != "Num" {
			found = append(found, fields[7])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// listeners are the TCP sockets that listen.
func listeners(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); fields[3] == "0A" {
				found = append(found, fields[1])
			}
		}
	}
	slices.Sort(found)
	return found
}

// addresses are the network links with their addresses and aliases.
func addresses(t *testing.T) []string {
	t.Helper()
	changing := regexp.MustCompile(`\b((valid_lft|preferred_lft|state) \S+|tentative)|,LOWER_UP`)
	edit := func(line string) string {
		return strings.Join(strings.Fields(changing.ReplaceAllString(line, "")), " ")
	}
	return append(
		commandLines(t, edit, "ip", "-o", "link", "show"),
		commandLines(t, edit, "ip", "-o", "address", "show")...)
}

// rules are those of all tables, without counters.
func rules(t *testing.T) []string {
	t.Helper()
	counters := regexp.MustCompile(`\[\d+:\d+\]`)
	return commandLines(t, func(line string) string {
		if strings.HasPrefix(line, "#") {
			return ""
		}
		return counters.ReplaceAllString(line, "")
	}, "iptables-save")
}

func commandLines(t *testing.T, edit func(string) string, name string, args ...string) []string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(edit(strings.TrimSpace(line))); line != "" {
			found = append(found, line)
		}
	}
	return found
}

// networkNamespaces are those that a process is in.
func networkNamespaces() []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/ns/net") // the pattern is right
	for _, file := range files {
		if at, err := os.Readlink(file); err == nil {
			found = append(found, at)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
