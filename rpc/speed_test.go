package rpc_test

import (
	"cmp"
	"context"
	"fmt"
	"net"
	netrpc "net/rpc"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// Payload is what the contestants send and answer: about 500 bytes on the
// wire, of the kind that an offer is made of. net/rpc wants it exported.
type Payload struct {
	V        int               `json:"v"`
	ID       string            `json:"id"`
	Epoch    string            `json:"epoch"`
	Image    string            `json:"image"`
	Command  []string          `json:"command"`
	Env      []string          `json:"env"`
	CPU      int64             `json:"cpu"`
	Memory   int64             `json:"memory"`
	Disk     int64             `json:"disk"`
	Ports    []Port            `json:"ports"`
	Labels   map[string]string `json:"labels"`
	Drain    bool              `json:"drain"`
	Priority float64           `json:"priority"`
}

// Port is a part of a Payload.
type Port struct {
	Container int    `json:"container"`
	Host      int    `json:"host"`
	Protocol  string `json:"protocol"`
}

func sample() Payload {
	return Payload{
		V: 1, ID: "alice/shop/web/1.0000000000000001", Epoch: "000000000007000000000000002a",
		Image:   "registry.internal:5000/alice/shop@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
		Command: []string{"/usr/bin/server", "--listen", ":8080"},
		Env:     []string{"PORT=8080", "MODE=production", "CACHE=redis://cache:6379/0"},
		CPU:     1500, Memory: 512 << 20, Disk: 10 << 30, Ports: []Port{{8080, 0, "tcp"}},
		Labels: map[string]string{"arch": "amd64", "zone": "eu-1a"}, Priority: 0.5,
	}
}

// Echo is the service of net/rpc.
type Echo struct{}

// Payload answers the same.
func (Echo) Payload(in Payload, out *Payload) error { *out = in; return nil }

// contestant makes one round trip on one connection; safe for many at once.
type contestant struct {
	name string
	call func() error
}

func ours(b *testing.B, name, scheme string) contestant {
	b.Helper()
	tr := rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(selfSigned(b))})
	at, _ := server(b, tr, scheme+"://127.0.0.1:0", rpc.Config{Methods: rpc.Methods{
		"payload": rpc.Unary("", "p", func(_ context.Context, _ *rpc.Call, p Payload) (Payload, error) { return p, nil }),
	}})
	l := dial(b, tr, at, rpc.Config{})
	in := sample()
	return contestant{name, func() error {
		var out Payload
		return checked(l.Call(context.Background(), "payload", &out, &in), &out)
	}}
}

// checked fails what did not come back.
func checked(err error, out *Payload) error {
	if err == nil && (out.ID == "" || len(out.Env) != 3) {
		return fmt.Errorf("%+v came back", out)
	}
	return err
}

func netRPC(b *testing.B) contestant {
	b.Helper()
	s := netrpc.NewServer()
	must(b, s.Register(Echo{}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go s.Accept(ln)
	c, err := netrpc.Dial("tcp", ln.Addr().String())
	must(b, err)
	b.Cleanup(func() { _ = c.Close(); _ = ln.Close() })
	in := sample()
	return contestant{"net/rpc", func() error {
		var out Payload
		return checked(c.Call("Echo.Payload", in, &out), &out)
	}}
}

// wire is an event as a plain user of msgpack has it.
type wire struct {
	_msgpack struct{} `msgpack:",as_array"` //nolint:unused // the library looks at it
	Header   map[string]any
	Name     string
	Args     []Payload
}

func pack(id, responseTo, name string, p Payload) ([]byte, error) {
	header := map[string]any{"message_id": id, "v": 3}
	if responseTo != "" {
		header["response_to"] = responseTo
	}
	return msgpack.Marshal(&wire{Header: header, Name: name, Args: []Payload{p}})
}

// stockRouter is the library's own ROUTER with a service like ours on it: a
// goroutine a call.
func stockRouter(tb testing.TB) (zmq4.Socket, string) {
	ctx, cancel := context.WithCancel(context.Background())
	router := zmq4.NewRouter(ctx)
	must(tb, router.Listen("tcp://127.0.0.1:0"))
	tb.Cleanup(func() { _ = router.Close(); cancel() })
	return router, "tcp://" + router.Addr().String()
}

func stock(b *testing.B) contestant {
	b.Helper()
	router, at := stockRouter(b)
	go func() {
		for {
			msg, err := router.Recv()
			if err != nil {
				return
			}
			go func() {
				var e wire
				last := len(msg.Frames) - 1
				if msgpack.Unmarshal(msg.Frames[last], &e) != nil {
					return
				}
				reply, err := pack("server", e.Header["message_id"].(string), "OK", e.Args[0])
				if err == nil {
					_ = router.Send(zmq4.NewMsgFrom(append(msg.Frames[:last:last], reply)...))
				}
			}()
		}
	}()
	dealer := zmq4.NewDealer(context.Background())
	must(b, dealer.Dial(at))
	b.Cleanup(func() { _ = dealer.Close() })
	var mu sync.Mutex
	waiting := map[string]chan Payload{}
	go func() {
		for {
			msg, err := dealer.Recv()
			if err != nil {
				return
			}
			var e wire
			if msgpack.Unmarshal(msg.Frames[len(msg.Frames)-1], &e) != nil {
				return
			}
			mu.Lock()
			id := e.Header["response_to"].(string)
			done := waiting[id]
			delete(waiting, id)
			mu.Unlock()
			done <- e.Args[0]
		}
	}()
	in, n := sample(), 0
	return contestant{"stock zmq4", func() error {
		done := make(chan Payload, 1)
		mu.Lock()
		n++
		id := fmt.Sprintf("%032d", n)
		waiting[id] = done
		mu.Unlock()
		request, err := pack(id, "", "payload", in)
		if err != nil {
			return err
		}
		if err := dealer.Send(zmq4.NewMsgFrom([]byte{}, request)); err != nil {
			return err
		}
		out := <-done
		return checked(nil, &out)
	}}
}

// used is the time on the processor of the whole process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spent is what something took.
type spent struct{ wall, cpu time.Duration }

func measure(f func()) spent {
	cpu, began := used(), time.Now()
	f()
	return spent{time.Since(began), used() - cpu}
}

// inFlight makes n calls, so many at a time.
func (c contestant) inFlight(b *testing.B, n, at int) spent {
	b.Helper()
	return measure(func() {
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				for range n / at {
					if err := c.call(); err != nil {
						b.Error(c.name, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

const (
	turns  = 30    // rounds in which each contestant has its turn
	bout   = 1_000 // calls of a turn
	crowds = 100   // in flight, in the second race
)

// BenchmarkRequestReply: one event of 500 bytes and its answer, decoded on
// both ends, over TCP loopback on one connection: against Go's net/rpc, which
// speaks gob, and against zmq4's own sockets with msgpack.
func BenchmarkRequestReply(b *testing.B) {
	for _, at := range []int{1, crowds} {
		b.Run(fmt.Sprintf("in-flight=%d", at), func(b *testing.B) {
			all := []contestant{
				ours(b, "ours", "tcp"), netRPC(b), stock(b),
				ours(b, "ours, mTLS", "tls"),
			}
			results := race(b, all, at)
			us, tls := results[0], results[3]
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(speedup(us, results[1]), "x-net/rpc")
			b.ReportMetric(speedup(us, results[2]), "x-zmq4")
			b.ReportMetric(1/speedup(tls, us), "mTLS/plain")
			for i, c := range all {
				b.Logf("%d in flight: %-11s %s", at, c.name, tell(results[i]))
			}
			b.Logf("%d in flight: %.2f of net/rpc, %.2f of stock zmq4; mTLS takes %.2f of plain (aims: %s)", at,
				speedup(us, results[1]), speedup(us, results[2]), 1/speedup(tls, us),
				map[int]string{1: "0.6 or more, -, 1.3 or less", crowds: "0.8 or more, 2 or more, -"}[at])
		})
	}
}

// race lets all have their turns, each round begun by another.
func race(b *testing.B, all []contestant, at int) [][]spent {
	b.Helper()
	results := make([][]spent, len(all))
	for turn := range turns + 1 {
		for i := range all {
			i := (i + turn) % len(all)
			s := all[i].inFlight(b, bout, at)
			if turn > 0 { // the first is to get warm
				results[i] = append(results[i], s)
			}
		}
	}
	return results
}

// speedup is how often as fast a is as b: the median over the rounds, for
// within a round both had the same machine.
func speedup(a, b []spent) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(b[i].wall) / float64(a[i].wall)
	}
	return middle(ratios)
}

func middle[T cmp.Ordered](all []T) T { return slices.Sorted(slices.Values(all))[len(all)/2] }

func tell(all []spent) string {
	var wall, cpu []time.Duration
	for _, s := range all {
		wall, cpu = append(wall, s.wall), append(cpu, s.cpu)
	}
	return fmt.Sprintf("%6.0f calls/s, %5.1f us of processor time a call", bout/middle(wall).Seconds(), middle(cpu).Seconds()*1e6/bout)
}
