package agent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"longshore/agent"
	"longshore/internal/placement"
	"longshore/rpc"
)

// ask calls a method of the agent as its broadcaster does.
func ask(t *testing.T, a *agent.Agent, method string, arg any) (req placement.Request, err error) {
	t.Helper()
	net := rpc.Memory()
	listener, err := net.Listen(t.Context(), "mem://a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = rpc.Serve(ctx, listener, rpc.Config{Methods: a.LinkMethods()}) }()
	defer func() { cancel(); <-done }()
	link, err := rpc.Dial(ctx, net, "mem://a", rpc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	return req, link.Call(ctx, method, &req, arg)
}

func TestRequestIsToldFromItsFileAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		w.mustTake(web1, withPort())
		w.settle()
		digest := withPort().Digest()
		file := filepath.Join(w.cfg.StateDir, "requests", strings.TrimPrefix(digest, "sha256:"))
		got, err := ask(t, w.agent, "request", digest)
		if err != nil || got.Digest() != digest {
			t.Errorf("the request is %+v, %v", got, err)
		}
		for name, c := range map[string]struct {
			digest string
			do     func() error
			want   string
		}{
			"no such file":     {"sha256:" + strings.Repeat("0", 64), nil, placement.KindNotFound},
			"another file":     {"sha256:../cluster", nil, placement.KindInvalid},
			"no digest at all": {"", nil, placement.KindInvalid},
			"a damaged file":   {digest, func() error { return os.WriteFile(file, []byte(`{"v":1}`), 0o600) }, placement.KindRefused},
		} {
			if c.do != nil {
				if err := c.do(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := ask(t, w.agent, "request", c.digest)
			if remote, ok := errors.AsType[*rpc.RemoteError](err); !ok || remote.Name != c.want {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			synctest.Wait()
		}
		if _, there := w.agent.Methods()["request"]; there {
			t.Error("requests are told on the node's socket, too")
		}
	})
}
