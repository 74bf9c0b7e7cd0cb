package faults_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// result is what was seen of one row.
type result struct {
	row          string
	faults       int
	lost, beyond int
	double       time.Duration // longest
	repair       time.Duration // longest
	live         bool          // repaired while the fault lasts
	failed       bool
	notes        []string
	longest      map[string]time.Duration // the row's own figures
}

// line is the row of the table.
func (r *result) line(date, commit string) string {
	name, repair := r.row, fmt.Sprintf("%.1f", r.repair.Seconds())
	if r.failed {
		repair = "FAILED"
	}
	if r.live {
		repair += " *"
	}
	own := slices.Clone(r.notes)
	for _, what := range slices.Sorted(maps.Keys(r.longest)) {
		own = append(own, fmt.Sprintf("%s %.1f s", what, r.longest[what].Seconds()))
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %.1f | %s | %s | %s %s |", name, r.faults, r.lost, r.beyond, r.double.Seconds(), repair, strings.Join(own, "; "), date, commit)
}

const head = `# Reliability: what faults did to real clusters

Written by ` + "`make faults`" + `; each row bears the date and the commit of its last run.

Each row is a cluster of its own, of real processes with a real Redis and real Docker daemons, three or four
nodes on one machine. An app of five replicas is changed while many of the faults strike; another one is left
alone, and its containers must stay the same ones unless they are what the fault hits. The checker lists every
Docker daemon itself, once a second.

- *Lost*: did not run in the end, or the ledger had forgotten it.
- *Beyond*: two copies, or one of what was removed, still running 25 s after their nodes could be reached; or two
  in one epoch, ever.
- *Double*: longest time that two copies ran while both nodes could be reached, in seconds.
- *Repair*: longest time from the end of the fault (* from its beginning: repaired while it lasts) until
  everything ran once, as it was last asked for, in seconds. Several clusters, and other work, share two cores: an upper bound.

| fault | faults | lost | beyond | double | repair | its own figures | run |
|---|---|---|---|---|---|---|---|
`

// tables is held by who changes the file.
var tables sync.Mutex

// keep prints the rows, and puts them into the file that the environment's TABLE
// names, if it does: among those that are there, in the place of their elders.
func keep(t *testing.T, results ...*result) {
	t.Helper()
	tables.Lock()
	defer tables.Unlock()
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		t.Errorf("git describe: %v", err)
		return
	}
	rows := map[string]string{}
	path := os.Getenv("TABLE")
	if path != "" {
		rows = readTable(path)
	}
	for _, r := range results {
		rows[r.row] = r.line(time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)))
	}
	text := table(rows)
	t.Log("\n" + text)
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(head+text), 0o644); err != nil { //nolint:gosec // for everybody to read
		t.Error(err)
	}
}

// readTable are the rows of a file by their names; none if there is no file.
func readTable(path string) map[string]string {
	rows := map[string]string{}
	b, _ := os.ReadFile(path) // none: no rows
	for line := range strings.Lines(strings.TrimPrefix(string(b), head)) {
		if cells := strings.Split(line, " | "); len(cells) == 8 && !strings.Contains(line, "**") {
			rows[strings.TrimPrefix(cells[0], "| ")] = strings.TrimSpace(line)
		}
	}
	return rows
}

// table is the rows by name, and their sum.
func table(rows map[string]string) string {
	var b strings.Builder
	var sum [3]int
	var most [2]float64
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintln(&b, rows[name])
		cells := strings.Split(rows[name], " | ")
		for i := range sum {
			n, _ := strconv.Atoi(cells[1+i]) // line wrote it
			sum[i] += n
		}
		for i := range most {
			seconds, _ := strconv.ParseFloat(strings.TrimSuffix(cells[4+i], " *"), 64) // FAILED: 0
			most[i] = max(most[i], seconds)
		}
	}
	fmt.Fprintf(&b, "| **%d kinds** | **%d** | **%d** | **%d** | **%.1f** | **%.1f** | | |\n", len(rows), sum[0], sum[1], sum[2], most[0], most[1])
	return b.String()
}
