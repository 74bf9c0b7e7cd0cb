package console

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"longshore/internal/placement"
	"longshore/rpc"
)

func (c *Console) portMethods() rpc.Methods {
	return rpc.Methods{
		"port_add": {
			Doc:      "Publish a port of a running container on the node's address, until it is removed or the container is gone; it outlives restarts of agent and node. host_port 0 is one that the agent chooses (20000 to 29999). Answers {container, host, proto}. The same again changes nothing.",
			Args:     []string{"container", "port", "host_port", "proto"},
			In:       []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[int](), reflect.TypeFor[string]()},
			Defaults: []any{0, "tcp"},
			Call:     c.portAdd,
		},
		"port_remove": {
			Doc:      "Take back a host port that port_add gave a container. One that its app asks for cannot be removed.",
			Args:     []string{"container", "host_port", "proto"},
			In:       []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[string]()},
			Defaults: []any{"tcp"},
			Call:     c.portRemove,
		},
		"port_list": rpc.Nullary("List the host ports of the containers that the caller may touch; late ones were given by port_add.",
			func(_ context.Context, call *rpc.Call) ([]placement.Published, error) {
				return slices.DeleteFunc(c.Ports.Published(), func(p placement.Published) bool { return may(call, p.ID.Owner()) != nil }), nil
			}),
	}
}

func (c *Console) portAdd(ctx context.Context, call *rpc.Call) (any, error) {
	var name, proto string
	var port, host int
	if err := call.Decode(&name, &port, &host, &proto); err != nil {
		return nil, err
	}
	if port < 1 || port > 65535 || host < 0 || host > 65535 || proto != "tcp" && proto != "udp" {
		return nil, badPort(fmt.Sprintf("port is %d, host_port %d, proto %.20q", port, host, proto))
	}
	id, err := c.find(call, name)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	return c.Ports.AddPort(ctx, id, placement.Port{Container: uint16(port), Host: uint16(host), Proto: proto})
}

func (c *Console) portRemove(ctx context.Context, call *rpc.Call) (any, error) {
	var name, proto string
	var host int
	if err := call.Decode(&name, &host, &proto); err != nil {
		return nil, err
	}
	if host < 1 || host > 65535 || proto != "tcp" && proto != "udp" {
		return nil, badPort(fmt.Sprintf("host_port is %d, proto %.20q", host, proto))
	}
	id, err := c.find(call, name)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	return nil, c.Ports.RemovePort(ctx, id, placement.Port{Host: uint16(host), Proto: proto})
}

func badPort(why string) error {
	return &placement.Error{Kind: placement.KindInvalid, What: "this is no port", Why: why, Next: "give one port from 1 to 65535 of tcp or udp; ranges cannot be published yet"}
}
