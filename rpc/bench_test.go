package rpc_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"longshore/rpc"
)

// payload is about as large as an offer.
func payload() thing {
	return thing{
		Name: "alice/shop/web/1.0000000000000001", Size: 1 << 30,
		Tags: map[string]string{"arch": "amd64", "zone": "a", "disk": "ssd", "os": "linux"},
		Data: make([]byte, 300),
	}
}

// BenchmarkCall is one call in flight.
func BenchmarkCall(b *testing.B) {
	for _, n := range networks() {
		b.Run(n.name, func(b *testing.B) {
			tr, addr := n.make(b)
			at, _ := server(b, tr, addr, rpc.Config{Methods: house()})
			l := dial(b, tr, at, rpc.Config{})
			in := payload()
			b.ReportAllocs()
			for b.Loop() {
				var out thing
				if err := l.Call(context.Background(), "thing", &out, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCalls100 is a hundred calls in flight on one link.
func BenchmarkCalls100(b *testing.B) {
	for _, n := range networks() {
		b.Run(n.name, func(b *testing.B) {
			tr, addr := n.make(b)
			at, _ := server(b, tr, addr, rpc.Config{Methods: house()})
			l := dial(b, tr, at, rpc.Config{})
			in := payload()
			b.SetParallelism(50)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					var out thing
					if err := l.Call(context.Background(), "thing", &out, in); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkStream is one item of a long stream.
func BenchmarkStream(b *testing.B) {
	for _, n := range networks() {
		b.Run(n.name, func(b *testing.B) {
			tr, addr := n.make(b)
			item := payload()
			at, _ := server(b, tr, addr, rpc.Config{Methods: rpc.Methods{
				"flow": rpc.Streaming("", "n", func(_ context.Context, _ *rpc.Call, n int, send func(any) error) error {
					for range n {
						if err := send(item); err != nil {
							return err
						}
					}
					return nil
				}),
			}})
			l := dial(b, tr, at, rpc.Config{})
			b.ReportAllocs()
			s, err := l.Stream(context.Background(), "flow", b.N)
			must(b, err)
			got := 0
			for {
				var out thing
				if err := s.Next(&out); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				got++
			}
			if got != b.N {
				b.Fatalf("%d of %d items came", got, b.N)
			}
		})
	}
}
