package interop_test

import (
	"bytes"
	"testing"

	"longshore/rpc"
)

// watched is one case over a tapped wire. The checks read what went by: they
// hold for either end, since the protocol is the same whoever wrote it.
type watched struct {
	t       *testing.T
	wire    table
	tap     *tap
	link    *rpc.Link // to the foreign server, when we call
	foreign bool      // the client is foreign, the server ours
	server  string    // the foreign server's name
}

// expect holds one message against the table.
func (w *watched) expect(m message, fromClient bool, name string, in *bound) {
	w.t.Helper()
	if m.fromClient != fromClient || len(m.frames) != 2 || len(m.frames[0]) != 0 {
		w.t.Fatalf("%s: a message of %d frames, from the client: %v: %.60q", name, len(m.frames), m.fromClient, m.frames)
	}
	if err := w.wire.match(name, m.frames[1], in); err != nil {
		w.t.Fatal(err)
	}
}

// dialogue holds a whole conversation against the table, request by request:
// c: the client says, s: the server says.
func (w *watched) dialogue(lines ...string) {
	w.t.Helper()
	all := w.tap.seen()
	if len(all) != len(lines) {
		w.t.Fatalf("%d messages went by, not %d", len(all), len(lines))
	}
	in := &bound{ids: map[string]string{}}
	for i, line := range lines {
		if line[0] == 'c' && i > 0 {
			last := in.ids["<call>"]
			in = &bound{ids: map[string]string{}}
			defer func() {
				if in.ids["<call>"] == last {
					w.t.Error("two calls of one id")
				}
			}()
		}
		w.expect(all[i], line[0] == 'c', line[3:], in)
	}
}

// greeting: our end is ZMTP 3.0 with the NULL mechanism, by the letter.
func (w *watched) greeting() {
	w.t.Helper()
	w.tap.mu.Lock()
	got := w.tap.greetings[!w.foreign]
	w.tap.mu.Unlock()
	name := "greeting of a client"
	if w.foreign {
		name = "greeting of a server"
	}
	if err := w.wire.match(name, got, &bound{}); err != nil {
		w.t.Error(err)
	}
}

func (w *watched) calls() {
	w.t.Helper()
	w.dialogue("c: call add 1 2", "s: ok 3", "c: call echo", "s: ok echo")
}

func (w *watched) errors() {
	w.t.Helper()
	if w.foreign {
		w.dialogue("c: call fail", "s: err ours", "c: call nothing", "s: err unknown")
		return
	}
	w.dialogue("c: call fail", "s: err python", "c: call nothing", "s: err name")
}

// stream: 10,000 items in order, none without credit: 1 at first, then what
// the client gave.
func (w *watched) stream() {
	w.t.Helper()
	all := w.tap.seen()
	in := &bound{ids: map[string]string{}}
	w.expect(all[0], true, "call count", in)
	credit, items, asked, done := 1, 0, 0, 0
	for _, m := range all[1:] {
		switch {
		case bytes.Contains(m.frames[1], []byte("_zpc_hb")): // of a slow machine
			w.expect(m, m.fromClient, "heartbeat", in)
		case m.fromClient:
			w.expect(m, true, "more", in)
			if asked++; asked == 1 && in.n != 100 || in.n > 100 || in.n < 51 {
				w.t.Fatalf("the client asks for %d", in.n)
			}
			credit += in.n
		case items == 10000:
			w.expect(m, false, "stream done", in)
			credit--
			done++
		default:
			w.expect(m, false, "stream", in)
			if in.n != items {
				w.t.Fatalf("item %d is %d", items, in.n)
			}
			items++
			credit--
		}
		if credit < 0 || credit > 200 {
			w.t.Fatalf("after item %d the server's credit is %d", items, credit)
		}
	}
	if items != 10000 || done != 1 || asked < 100 {
		w.t.Errorf("%d items, %d ends, asked %d times", items, done, asked)
	}
}

// sleep: a call of 30 s is nothing but heartbeats of both sides, the server's
// before a passive client's.
func (w *watched) sleep() {
	w.t.Helper()
	all := w.tap.seen()
	in := &bound{ids: map[string]string{}}
	w.expect(all[0], true, "call sleep", in)
	beats := map[bool]int{}
	for i, m := range all[1 : len(all)-1] {
		w.expect(m, m.fromClient, "heartbeat", in)
		beats[m.fromClient]++
		if i == 0 && m.fromClient && w.foreign {
			w.t.Error("the server waited for the client's heartbeat")
		}
	}
	w.expect(all[len(all)-1], false, "ok sleep", in)
	if min(beats[true], beats[false]) < 4 || max(beats[true], beats[false]) > 6 {
		w.t.Errorf("%d heartbeats of the client, %d of the server", beats[true], beats[false])
	}
}
