package sim

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// ears hear what the parts log. Records come from any goroutine, so they are
// only kept for the story, by way of a delivery.
type ears struct {
	w     *world
	attrs string
}

// Enabled is true for what a person would see.
func (h ears) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo
}

// Handle counts the message, and tells it in the story.
func (h ears) Handle(_ context.Context, r slog.Record) error {
	w, line := h.w, r.Message+h.attrs
	if w.cfg.Story {
		r.Attrs(func(a slog.Attr) bool {
			line += " " + a.Key + "=" + a.Value.String()
			return true
		})
	}
	rule, counts := logged[r.Message]
	if !counts && !w.cfg.Story {
		return nil
	}
	w.e.after(1, fnv(line), func() {
		if counts {
			w.fired[rule]++
		}
		w.tell("    %s", line)
	})
	return nil
}

// WithAttrs keeps what is said of all.
func (h ears) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += " " + a.Key + "=" + a.Value.String()
	}
	return h
}

// WithGroup changes nothing.
func (h ears) WithGroup(string) slog.Handler { return h }

// logged names the rules of the protocol that a log line tells of.
var logged = map[string]string{
	"the ledger holds no longer":                            "hold",
	"claims cannot be reached: placing without them":        "claims unreachable",
	"placement given up":                                    "given up by an agent",
	"copy is not wanted back":                               "resume refused",
	"docker did not answer a start":                         "start unknown",
	"docker refused to start":                               "start refused",
	"stopping on order":                                     "stop order",
	"cannot undo a placement yet":                           "undo put off",
	"a copy taken for never started runs":                   "sweep spared a running copy",
	"lost":                                                  "node lost",
	"suspecting ourselves: all silences begin again":        "self suspicion",
	"too many nodes silent together: holding":               "mass guard",
	"stop order not delivered":                              "stop order lost",
	"second live session of a node: no new work for it":     "two sessions",
	"the ledger was rolled back: it takes a new generation": "rollback seen",
}

// heard counts what goes over the wire.
func (w *world) heard(m message) {
	if m.answer {
		if m.name == "OK" && bytes.Contains(m.args, []byte("\xa7verdict\xa4wait")) {
			w.fired["bind told to wait"]++
		}
		if m.name == "OK" && bytes.Contains(m.args, []byte("\xa7verdict\xa5stale")) {
			w.fired["bind of a void session"]++
		}
		return
	}
	switch m.name {
	case "offer":
		if bytes.Contains(m.args, []byte("\xa8lockless\xc3")) {
			w.fired["lockless offer"]++
		}
	case "bind":
		if bytes.Contains(m.args, []byte("\xa4exit")) {
			w.fired["exit asked"]++
		}
	}
}

// Must is every rule that has to fire somewhere in a run of many seeds.
var Must = []string{
	"adopt by report", "adopt by bind", "resume", "condemned", "hold", "lockless offer", "stop order", "lost by silence",
	"lost by absence", "late or refused start", "exit asked", "done", "dead", "retried", "cancelled", "buried",
	"bind told to wait", "claims unreachable", "given up by an agent", "mass guard", "self suspicion", "node lost",
}

// Missed lists the rules that never fired.
func Missed(fired map[string]int) []string {
	return slices.DeleteFunc(slices.Clone(Must), func(r string) bool { return fired[r] > 0 })
}

// Fired is what fired, as one line.
func Fired(fired map[string]int) string {
	var b strings.Builder
	for _, r := range slices.Sorted(maps.Keys(fired)) {
		b.WriteString(r + "=" + itoa(fired[r]) + " ")
	}
	return strings.TrimSpace(b.String())
}
