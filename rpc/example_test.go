package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"longshore/rpc"
)

type order struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// A service, a client that calls it, a stream, and an error.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	methods := rpc.Methods{
		"sum": rpc.Unary("Add numbers.", "numbers", func(_ context.Context, _ *rpc.Call, n []int) (int, error) {
			total := 0
			for _, x := range n {
				total += x
			}
			return total, nil
		}),
		"count": rpc.Streaming("Count.", "order", func(_ context.Context, _ *rpc.Call, o order, send func(any) error) error {
			for i := o.From; i <= o.To; i++ {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	transport := rpc.ZMQ(rpc.ZMQOptions{})
	listener, err := transport.Listen(ctx, "tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- rpc.Serve(ctx, listener, rpc.Config{Identity: "adder", Methods: methods}) }()

	link, err := rpc.Dial(ctx, transport, listener.Addr(), rpc.Config{Identity: "me"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var sum int
	if err := link.Call(ctx, "sum", &sum, []int{1, 2, 3}); err != nil {
		fmt.Println(err)
	}
	fmt.Println("sum:", sum)

	stream, err := link.Stream(ctx, "count", order{From: 1, To: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		var item int
		if err := stream.Next(&item); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println("item:", item)
	}
	_ = stream.Close()

	var remote *rpc.RemoteError
	if err := link.Call(ctx, "product", nil, 2, 3); errors.As(err, &remote) {
		fmt.Println(remote.Name+":", remote.Message)
	}
	_ = link.Close()
	cancel()
	fmt.Println("served:", <-served)
	// Output:
	// sum: 6
	// item: 1
	// item: 2
	// item: 3
	// NameError: there is no method product
	// served: <nil>
}
