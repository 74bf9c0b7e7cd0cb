package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// budget is what serving one call may allocate, from the bytes that come in to
// the bytes that go out.
const budget = 25

// TestServerAllocations measures with a client that allocates nothing: it
// writes the same bytes again and again, and reads answers of one length.
func TestServerAllocations(t *testing.T) {
	at, _ := server(t, rpc.ZMQ(rpc.ZMQOptions{}), "tcp://127.0.0.1:0", rpc.Config{Methods: rpc.Methods{
		"payload": rpc.Unary("", "p", func(_ context.Context, _ *rpc.Call, p Payload) (*Payload, error) { return &p, nil }),
	}})
	c := raw(t, at)
	request, reply := frames(t, c)
	roundTrip := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, reply); err != nil {
			t.Fatal(err)
		}
	}
	roundTrip()
	if n := testing.AllocsPerRun(1000, roundTrip); n > budget {
		t.Errorf("%v allocations a call, the budget is %d", n, budget)
	} else {
		t.Logf("%v allocations a call", n)
	}
}

// frames shakes hands by hand, makes one call, and returns its request as it
// is on the wire and a buffer as long as its answer.
func frames(tb testing.TB, c net.Conn) (request, reply []byte) {
	tb.Helper()
	_, err := c.Write(append(greeting(), ready("DEALER")...))
	must(tb, err)
	_, err = io.ReadFull(c, make([]byte, 64))
	must(tb, err)
	head := make([]byte, 2)
	_, err = io.ReadFull(c, head)
	must(tb, err)
	_, err = io.ReadFull(c, make([]byte, head[1])) // its READY
	must(tb, err)

	var event bytes.Buffer
	enc := msgpack.NewEncoder(&event)
	enc.SetCustomStructTag("json")
	must(tb, enc.Encode([]any{map[string]any{"message_id": []byte("0123456789abcdef0123456789abcdef"), "v": 3}, "payload", []Payload{sample()}}))
	request = append([]byte{1, 0, 2}, binary.BigEndian.AppendUint64(nil, uint64(event.Len()))...)
	request = append(request, event.Bytes()...)
	_, err = c.Write(request)
	must(tb, err)
	head = make([]byte, 2+9) // an empty frame, and the head of a long one
	_, err = io.ReadFull(c, head)
	must(tb, err)
	size := binary.BigEndian.Uint64(head[3:])
	_, err = io.ReadFull(c, make([]byte, size))
	must(tb, err)
	return request, make([]byte, len(head)+int(size))
}
