package rpc_test

import (
	"bytes"
	"io"
	"net"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// FuzzScan: whatever passes the scanner is decoded without panic, without
// running away, and the scanner itself stays inside its bytes.
func FuzzScan(f *testing.F) {
	for _, v := range []any{nil, 1, "x", []any{1, map[string]any{"a": []byte{1}}}} {
		b, err := msgpack.Marshal([]any{map[string]any{"message_id": []byte("id"), "v": 3, "response_to": "x", "deadline_ms": 5}, "name", v})
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte{0x93, 0x81, 0xa1})
	f.Add(append([]byte{0x93}, bytes.Repeat([]byte{0x91}, 100)...))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = rpc.Scan(b)
		if rpc.ScanValue(b, false) != nil {
			return
		}
		var v any
		_ = rpc.Unmarshal(b, &v)
		var s struct {
			Name string           `json:"name"`
			List []map[string]int `json:"list"`
		}
		_ = rpc.Unmarshal(b, &s)
		out := bytes.Clone(b)
		if rpc.ScanValue(out, true) == nil && rpc.ScanValue(out, false) != nil {
			t.Error("what goes out would not be let in")
		}
	})
}

// FuzzEvent: an event whose header can be used is answered on the id it came
// with, whatever its name and arguments are; any other ends the link. What is
// decoded of it never panics.
func FuzzEvent(f *testing.F) {
	event := func(header map[string]any, name string, args any) []byte {
		b, err := msgpack.Marshal([]any{header, name, args})
		must(f, err)
		return b
	}
	f.Add(event(map[string]any{"message_id": []byte("id"), "v": 3}, "add", []any{1, 2}))
	f.Add(event(map[string]any{"message_id": "id", "v": 3, "deadline_ms": 5000}, "echo", []any{map[string]any{"a": []any{nil, 1.5}}}))
	f.Add(event(map[string]any{"message_id": 7, "v": 2, "trace": "x"}, "count", []any{0}))
	f.Add(event(map[string]any{"message_id": "id", "v": uint64(1<<64 - 1)}, "thing", []any{map[string]any{"name": 1}}))
	f.Add(event(map[string]any{"message_id": "id"}, "_zerorpc_help", []any{"add"}))
	f.Add(event(map[string]any{"message_id": "x", "v": 3, "response_to": "id"}, "_zpc_more", []any{-1}))
	f.Add(event(map[string]any{"message_id": "x", "v": 3}, "_zpc_hb", nil))
	tr := rpc.Memory()
	methods := house()
	delete(methods, "hang") // it answers to nobody
	delete(methods, "back") // and who is called back here is silent
	at, _ := server(f, tr, "x", rpc.Config{Methods: methods})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, opens, err := rpc.Opening(b)
		conn, e := tr.Dial(within(t), at, "fuzz")
		must(t, e)
		defer conn.Close()
		if conn.Send([][]byte{b}) != nil {
			return // too large
		}
		if err == nil && !opens {
			return // a late event, dropped
		}
		got := make(chan error, 1)
		var answered []byte
		go func() {
			frames, err := conn.Recv()
			if err == nil {
				answered = frames[len(frames)-1]
			}
			got <- err
		}()
		ended := receive(t, "an answer or the end", got)
		if (ended == nil) != (err == nil) {
			t.Fatalf("the event is %v, the link %v", err, ended)
		}
		if err == nil && !bytes.Contains(answered, append([]byte("\xabresponse_to"), id...)) {
			t.Errorf("answered on another channel: %q", answered)
		}
	})
}

// script is a connection on which a peer says what it was told to, a few bytes
// at a time, and hears nothing.
type script struct {
	net.Conn
	r    io.Reader
	step int
}

func (s *script) Read(p []byte) (int, error)       { return s.r.Read(p[:min(len(p), s.step)]) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{} }

// FuzzGuard: whatever a stranger says, zmq4 neither panics nor takes more
// memory than a few times what was said. Inputs that do not begin with 0xff
// are what comes behind a good handshake.
func FuzzGuard(f *testing.F) {
	hello := append(greeting(), ready("DEALER")...)
	for _, b := range attacks("DEALER") {
		if len(b) < 1<<20 {
			f.Add(b)
			f.Add(bytes.TrimPrefix(b, hello))
		}
	}
	f.Add([]byte(strings.Repeat("\x01\x01x", 63) + "\x00\x00"))
	f.Add(append(command("PING", []byte("\x00\x0ahello")), 0, 1, 'x'))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] != 0xff {
			b = append(bytes.Clone(hello), b...)
		}
		before := allocated()
		frames, size := rpc.Hear(&script{r: bytes.NewReader(b), step: 1 + len(b)%97})
		if took := allocated() - before; took > 1<<20+20*uint64(len(b)) {
			t.Errorf("%d bytes took %d of memory", len(b), took)
		}
		if frames > len(b) || size > len(b) {
			t.Errorf("of %d bytes came %d frames, %d bytes", len(b), frames, size)
		}
	})
}

// allocated is how many bytes this process ever took.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
