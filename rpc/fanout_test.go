package rpc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/vmihailenco/msgpack/v5"

	"longshore/rpc"
)

// A crowd is agents connected to one end that asks them all the same, and
// decodes what each of them answers.
type crowd struct {
	name string
	size int
	ask  func() error
}

func crowdOfOurs(b *testing.B, name, scheme string, size int) crowd {
	b.Helper()
	tr := rpc.ZMQ(rpc.ZMQOptions{TLS: fixed(selfSigned(b)), Handshake: time.Minute, MaxHands: size, MaxPerSource: size})
	links := make(chan *rpc.Link, size)
	at, _ := server(b, tr, scheme+"://127.0.0.1:0", rpc.Config{OnLink: func(_ context.Context, l *rpc.Link) { links <- l }})
	agents := rpc.Config{Methods: rpc.Methods{
		"payload": rpc.Unary("", "p", func(_ context.Context, _ *rpc.Call, p Payload) (Payload, error) { return p, nil }),
	}}
	all := make([]*rpc.Link, size)
	for i := range size {
		dial(b, tr, at, agents)
		all[i] = receive(b, "a link", links)
	}
	in := sample()
	return crowd{name, size, func() error {
		for _, answer := range rpc.CallEach(context.Background(), all, "payload", &in) {
			var out Payload
			if err := checked(answer.Decode(&out), &out); err != nil {
				return err
			}
		}
		return nil
	}}
}

// crowdOfStock is zmq4's own sockets: one ROUTER, a DEALER for each agent.
// The request is packed once for all.
func crowdOfStock(b *testing.B, size int) crowd {
	b.Helper()
	router, at := stockRouter(b)
	for i := range size {
		agent := zmq4.NewDealer(context.Background(), zmq4.WithID(zmq4.SocketIdentity(fmt.Sprintf("agent-%04d", i))))
		must(b, agent.Dial(at))
		b.Cleanup(func() { _ = agent.Close() })
		go func() {
			for {
				msg, err := agent.Recv()
				if err != nil {
					return
				}
				var e wire
				if msgpack.Unmarshal(msg.Frames[len(msg.Frames)-1], &e) != nil {
					return
				}
				reply, err := pack("agent", e.Header["message_id"].(string), "OK", e.Args[0])
				if err != nil || agent.Send(zmq4.NewMsgFrom([]byte{}, reply)) != nil {
					return
				}
			}
		}()
	}
	in, round := sample(), 0
	return crowd{"stock zmq4", size, func() error {
		round++
		request, err := pack(fmt.Sprintf("%032d", round), "", "payload", in)
		if err != nil {
			return err
		}
		for i := range size {
			if err := router.Send(zmq4.NewMsgFrom([]byte(fmt.Sprintf("agent-%04d", i)), []byte{}, request)); err != nil {
				return err
			}
		}
		for range size {
			msg, err := router.Recv()
			if err != nil {
				return err
			}
			var e wire
			if err := msgpack.Unmarshal(msg.Frames[len(msg.Frames)-1], &e); err != nil {
				return err
			}
			if err := checked(nil, &e.Args[0]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// round asks all, a few times, and gives what one time took.
func (c crowd) round(b *testing.B, times int) spent {
	b.Helper()
	s := measure(func() {
		for range times {
			if err := c.ask(); err != nil {
				b.Fatal(c.name, err)
			}
		}
	})
	return spent{s.wall / time.Duration(times), s.cpu / time.Duration(times)}
}

func (c crowd) tell(all []spent) string {
	var wall, cpu []time.Duration
	for _, s := range all {
		wall, cpu = append(wall, s.wall), append(cpu, s.cpu)
	}
	return fmt.Sprintf("%-11s %4d agents: %5.1f ms, %5.1f ms of processor time, %4.1f us an agent",
		c.name, c.size, middle(wall).Seconds()*1e3, middle(cpu).Seconds()*1e3, middle(cpu).Seconds()*1e6/float64(c.size))
}

// cheaper is the processor time of a in that of b, each for an agent.
func cheaper(a, b crowd, as, bs []spent) float64 {
	ratios := make([]float64, len(as))
	for i := range as {
		ratios[i] = float64(as[i].cpu) / float64(a.size) / (float64(bs[i].cpu) / float64(b.size))
	}
	return middle(ratios)
}

// rounds lets all crowds have their turns.
func rounds(b *testing.B, all ...crowd) [][]spent {
	b.Helper()
	results := make([][]spent, len(all))
	for turn := range turns + 1 {
		for i := range all {
			i := (i + turn) % len(all)
			s := all[i].round(b, max(1, 2000/all[i].size))
			if turn > 0 {
				results[i] = append(results[i], s)
			}
		}
	}
	return results
}

// BenchmarkFanOut: one request to 500 agents, each on a connection of its own,
// and 500 answers decoded, all in one process, against zmq4's own sockets.
func BenchmarkFanOut(b *testing.B) {
	all := []crowd{crowdOfOurs(b, "ours", "tcp", 500), crowdOfStock(b, 500), crowdOfOurs(b, "ours, mTLS", "tls", 500)}
	results := rounds(b, all...)
	plain, tls := cheaper(all[0], all[1], results[0], results[1]), cheaper(all[2], all[1], results[2], results[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(plain, "cpu/zmq4")
	b.ReportMetric(tls, "mTLS-cpu/zmq4")
	for i, c := range all {
		b.Log(c.tell(results[i]))
	}
	b.Logf("processor time %.2f of stock zmq4, with mTLS %.2f (aims: 0.55 or less, 0.60 or less)", plain, tls)
}

// BenchmarkFanOutGrowth: what an agent costs must not grow with their number.
// Of 4,000 a profile is written, of which the top is for `go tool pprof`.
func BenchmarkFanOutGrowth(b *testing.B) {
	few, many := crowdOfOurs(b, "ours", "tcp", 100), crowdOfOurs(b, "ours", "tcp", 2000)
	results := rounds(b, few, many)
	growth := cheaper(many, few, results[1], results[0])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(growth, "cpu-100-to-2000")
	b.Log(few.tell(results[0]))
	b.Log(many.tell(results[1]))
	b.Logf("an agent of 2,000 costs %.2f of one of 100 (aim: 1.25 or less)", growth)

	most := crowdOfOurs(b, "ours", "tcp", 4000)
	file := filepath.Join(os.TempDir(), "longshore-fanout-4000.pprof")
	f, err := os.Create(file)
	must(b, err)
	runtime.GC()
	must(b, pprof.StartCPUProfile(f))
	results = rounds(b, few, most)
	pprof.StopCPUProfile()
	must(b, f.Close())
	b.Log(most.tell(results[1]))
	b.ReportMetric(cheaper(most, few, results[1], results[0]), "cpu-100-to-4000")
	b.Logf("an agent of 4,000 costs %.2f of one of 100 (hoped for: 1.5 or less); profile: %s", cheaper(most, few, results[1], results[0]), file)
}
