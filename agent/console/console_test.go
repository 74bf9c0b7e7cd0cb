package console_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"testing"

	"longshore/agent/console"
	"longshore/internal/dockerd"
	"longshore/internal/placement"
	"longshore/rpc"
)

const life = "00000000000100000009"

func id(replica string) placement.ID { return placement.Replica(replica).Placement(life) }

// fakes are everything around a console. They remember.
type fakes struct {
	copies []placement.Copy
	exec   func(ctx context.Context, cmd dockerd.Command, out dockerd.Output) (int, error)
	logs   func(ctx context.Context, out dockerd.Output) error
	wish   func(w placement.Wish) (placement.Wished, error)

	mu      sync.Mutex
	wishes  []placement.Wish
	stopped []placement.StopOrder
	files   map[string][]byte // what was unpacked, by container and directory
}

func (f *fakes) Cluster() string          { return "c1" }
func (f *fakes) Copies() []placement.Copy { return append([]placement.Copy(nil), f.copies...) }
func (f *fakes) Capacity() placement.NodeCapacity {
	return placement.NodeCapacity{Owners: []placement.OwnerShare{{Owner: "alice"}, {Owner: "bob"}}}
}

func (f *fakes) Refusals() []placement.Passed {
	return []placement.Passed{{ID: id("alice/shop/web/1")}, {ID: id("bob/shop/web/1")}}
}

func (f *fakes) StopNow(_ context.Context, o placement.StopOrder) error {
	f.stopped = append(f.stopped, o)
	return nil
}

func (f *fakes) AddPort(_ context.Context, _ placement.ID, p placement.Port) (placement.Port, error) {
	return p, nil
}
func (f *fakes) RemovePort(context.Context, placement.ID, placement.Port) error { return nil }
func (f *fakes) Published() []placement.Published {
	return []placement.Published{{ID: id("alice/shop/web/1")}, {ID: id("bob/shop/web/1")}}
}

func (f *fakes) Wish(_ context.Context, w placement.Wish) (placement.Wished, error) {
	f.wishes = append(f.wishes, w)
	return f.wish(w)
}

func (f *fakes) Exec(ctx context.Context, _ placement.ID, cmd dockerd.Command, out dockerd.Output) (int, error) {
	return f.exec(ctx, cmd, out)
}

func (f *fakes) Logs(ctx context.Context, _ placement.ID, _ dockerd.LogQuery, out dockerd.Output) error {
	return f.logs(ctx, out)
}

func (f *fakes) ReadFiles(context.Context, placement.ID, string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("f"), 300_000))), nil
}

func (f *fakes) WriteFiles(_ context.Context, of placement.ID, dir string, tar io.Reader) error {
	b, err := io.ReadAll(tar)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.files[string(of.Replica())+":"+dir] = b
	}
	return err
}

func (f *fakes) Inspect(_ context.Context, of placement.ID) (dockerd.Detail, error) {
	return dockerd.Detail{Copy: placement.Copy{ID: of}}, nil
}

func (f *fakes) Meter(context.Context, placement.ID) (*dockerd.Meter, error) {
	return nil, errors.New("not here")
}
func (f *fakes) Owners() ([]string, error) { return []string{"alice", "bob"}, nil }
func (f *fakes) Images(_ context.Context, owner string) ([]dockerd.Image, error) {
	return []dockerd.Image{{Owner: owner}}, nil
}

func newFakes() *fakes {
	return &fakes{
		files: map[string][]byte{},
		copies: []placement.Copy{
			{ID: id("alice/shop/web/1"), State: placement.CopyExited},
			{ID: "alice/shop/web/1.00000000000100000008", State: placement.CopyRunning},
			{ID: id("alice/shop/web/2"), State: placement.CopyRunning},
			{ID: id("bob/shop/web/1"), State: placement.CopyRunning},
		},
		wish: func(placement.Wish) (placement.Wished, error) {
			return placement.Wished{}, &placement.Error{Kind: placement.KindUnavailable, What: "there is no link to the broadcaster"}
		},
	}
}

// serve makes a link to a console as somebody sees it, "role/name"; "" has no
// identity. The link is as one of a broadcaster that passes calls on.
func serve(t *testing.T, f *fakes) func(who string) *rpc.Link {
	t.Helper()
	once := rpc.NewOnce(rpc.OnceConfig{})
	net := rpc.Memory()
	l, err := net.Listen(t.Context(), "mem://node")
	if err != nil {
		t.Fatal(err)
	}
	methods := console.New("n1", console.Deps{Node: f, Ports: f, Ledger: f, Insides: f, Sights: f}).Methods()
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	allow := func(c *rpc.Call) error {
		if c.Peer.Role == "nobody" {
			return &placement.Error{Kind: placement.KindRefused, What: "nobody may"}
		}
		return nil
	}
	go func() {
		served <- rpc.Serve(ctx, l, rpc.Config{Methods: methods, Serve: []func(rpc.Handler) rpc.Handler{console.Relayed(allow), once.Serve}})
	}()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, once.Close()); err != nil {
			t.Error(err)
		}
	})
	return func(who string) *rpc.Link {
		t.Helper()
		link, err := rpc.Dial(t.Context(), net, "mem://node", rpc.Config{Invoke: []func(rpc.Invoker) rpc.Invoker{func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) error {
				if who != "" {
					r.Set(placement.CallerKey, who)
				}
				return next(ctx, r)
			}
		}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { link.Close() })
		return link
	}
}

// kind is the kind of an error that came over the wire.
func kind(err error) string {
	var named interface{ ErrorName() string }
	if errors.As(err, &named) {
		return named.ErrorName()
	}
	return ""
}

func TestNames(t *testing.T) {
	t.Parallel()
	link := serve(t, newFakes())("")
	for name, want := range map[string]string{
		"alice/shop/web/1":                            "alice/shop/web/1.00000000000100000008", // the one that runs
		"alice/shop/web/1." + life:                    "alice/shop/web/1." + life,
		"longshore.alice.shop.web.2." + life:          "alice/shop/web/2." + life,
		"alice/shop/web/3":                            placement.KindNotFound,
		"longshore-net":                               placement.KindInvalid,
		"longshore.alice.shop.web.2." + life + ".net": placement.KindInvalid,
		"":                    placement.KindInvalid,
		"alice/shop/../web/1": placement.KindInvalid,
	} {
		var d dockerd.Detail
		err := link.Call(t.Context(), "container_inspect", &d, name)
		if got := string(d.ID) + kind(err); got != want {
			t.Errorf("%q: %s (%v), want %s", name, got, err, want)
		}
	}
}

// TestOwners: a user sees and touches their own, whatever the method.
func TestOwners(t *testing.T) {
	t.Parallel()
	f := newFakes()
	f.exec = func(context.Context, dockerd.Command, dockerd.Output) (int, error) { return 0, nil }
	f.logs = func(context.Context, dockerd.Output) error { return nil }
	dial := serve(t, f)
	bob := dial("user/bob")
	const hers = "alice/shop/web/1"
	for method, args := range map[string][]any{
		"container_inspect": {hers}, "container_start": {hers}, "container_stop": {hers}, "container_destroy": {hers},
		"container_create": {placement.Container{ID: "alice/shop/web"}},
		"exec":             {console.Command{Container: hers, Argv: []string{"id"}}},
		"cp_in":            {console.Upload{Container: hers, Path: "/"}},
		"port_add":         {hers, 80}, "port_remove": {hers, 80},
	} {
		if err := bob.Call(t.Context(), method, nil, args...); kind(err) != placement.KindRefused {
			t.Errorf("%s of another's: %v", method, err)
		}
	}
	for method, args := range map[string][]any{
		"container_logs": {hers}, "container_stats": {hers}, "cp_out": {hers, "/"},
		"exec_stream": {console.Command{Container: hers, Argv: []string{"id"}}},
	} {
		s, err := bob.Stream(t.Context(), method, args...)
		if err == nil {
			err = s.Next(nil)
		}
		if kind(err) != placement.KindRefused {
			t.Errorf("%s of another's: %v", method, err)
		}
	}
	if len(f.wishes) > 0 {
		t.Errorf("wished: %+v", f.wishes)
	}
	for who, want := range map[string]int{"user/bob": 1, "operator/eve": 2, "": 2, "user/carol": 0} {
		for _, method := range []string{"container_list", "image_list", "port_list", "refusals"} {
			var items []map[string]any
			err := dial(who).Call(t.Context(), method, &items)
			n := want
			if method == "container_list" && want == 2 {
				n = 4
			}
			if err != nil || len(items) != n {
				t.Errorf("%s of %q: %d items, %v; want %d", method, who, len(items), err, n)
			}
		}
		var c placement.NodeCapacity
		if err := dial(who).Call(t.Context(), "capacity", &c); err != nil || len(c.Owners) != want {
			t.Errorf("capacity of %q: %+v, %v", who, c, err)
		}
	}
	for _, who := range []string{"nobody/bob", "/bob"} { // refused once more, by the table; no role at all
		if err := dial(who).Call(t.Context(), "container_list", nil); kind(err) != placement.KindRefused {
			t.Errorf("as %s: %v", who, err)
		}
	}
}

// TestUploads: an archive in parts arrives whole; parts that are missing, or
// come twice, do no harm.
func TestUploads(t *testing.T) {
	t.Parallel()
	f := newFakes()
	link := serve(t, f)("user/alice")
	part := func(offset int64, tar string, more bool) (int64, string) {
		var n int64
		err := link.Call(t.Context(), "cp_in", &n, console.Upload{Container: "alice/shop/web/2", Path: "/data", Tar: []byte(tar), Upload: "u1", Offset: offset, More: more})
		return n, kind(err)
	}
	for _, step := range []struct {
		offset int64
		tar    string
		more   bool
		want   int64
		err    string
	}{
		{5, "too early", true, 0, placement.KindNotFound},
		{0, "hello", true, 5, ""},
		{9, "a hole", true, 0, placement.KindInvalid},
		{0, "hello", true, 5, ""},      // sent twice
		{3, "lo, world", true, 12, ""}, // half of it sent twice
		{12, "!", false, 13, ""},
		{13, "late", true, 0, placement.KindNotFound},
	} {
		if n, err := part(step.offset, step.tar, step.more); err != step.err || err == "" && n != step.want {
			t.Errorf("%q at %d: %d, %q; want %d, %q", step.tar, step.offset, n, err, step.want, step.err)
		}
	}
	f.mu.Lock()
	got := maps.Clone(f.files)
	f.mu.Unlock()
	if string(got["alice/shop/web/2:/data"]) != "hello, world!" {
		t.Errorf("arrived: %q", got)
	}
	s, err := link.Stream(t.Context(), "cp_out", "alice/shop/web/2", "/data")
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for {
		var b []byte
		if err := s.Next(&b); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		size += len(b)
	}
	if size != 300_000 {
		t.Errorf("%d bytes came out", size)
	}
}

// TestWishes: what is started and stopped is the ledger's word; without it
// nothing is done.
func TestWishes(t *testing.T) {
	t.Parallel()
	f := newFakes()
	link := serve(t, f)("user/alice")
	for method, args := range map[string][]any{
		"container_start": {"alice/shop/web/2"}, "container_stop": {"alice/shop/web/2"}, "container_destroy": {"alice/shop/web/2"},
		"container_create": {placement.Container{ID: "alice/shop/new", Image: "hello"}},
	} {
		if err := link.Call(t.Context(), method, nil, args...); kind(err) != placement.KindUnavailable {
			t.Errorf("%s without a broadcaster: %v", method, err)
		}
	}
	if len(f.stopped) > 0 {
		t.Errorf("stopped without the ledger's word: %+v", f.stopped)
	}
	f.wishes = nil
	order := placement.StopOrder{ID: id("alice/shop/web/2"), Epoch: "e", Why: "stopped by user/alice"}
	f.wish = func(w placement.Wish) (placement.Wished, error) {
		return placement.Wished{ID: id("alice/shop/web/2"), State: placement.Done, Stop: &order}, nil
	}
	var done placement.Wished
	if err := link.Call(t.Context(), "container_stop", &done, "alice/shop/web/2"); err != nil || done.State != placement.Done {
		t.Errorf("stop: %+v, %v", done, err)
	}
	want := placement.Wish{V: placement.Format, Cluster: "c1", Node: "n1", Verb: placement.WishStop, ID: "alice/shop/web/2", By: "user/alice"}
	if len(f.wishes) != 1 || f.wishes[0] != want || len(f.stopped) != 1 || f.stopped[0] != order {
		t.Errorf("wished %+v, stopped %+v", f.wishes, f.stopped)
	}
	f.wish = func(placement.Wish) (placement.Wished, error) { // it holds its orders
		return placement.Wished{ID: id("alice/shop/web/9"), State: placement.Done}, nil
	}
	if err := link.Call(t.Context(), "container_destroy", nil, "alice/shop/web/9"); err != nil || len(f.stopped) != 1 {
		t.Errorf("destroy of what is not here: %v", err)
	}
	f.wishes = f.wishes[:1]
	if err := link.Call(t.Context(), "container_create", nil, placement.Container{ID: "alice/shop/new", Image: "hello"}); err != nil || f.wishes[1].Container.Node != "n1" {
		t.Errorf("create: %v, %+v", err, f.wishes)
	}
	if err := link.Call(t.Context(), "container_create", nil, placement.Container{ID: "alice/shop/new", Node: "n2"}); kind(err) != placement.KindInvalid {
		t.Errorf("create for another node: %v", err)
	}
	if err := link.Call(t.Context(), "drain", nil, true); err != nil || f.wishes[2].Verb != placement.WishDrain || !f.wishes[2].Off {
		t.Errorf("drain: %v, %+v", err, f.wishes)
	}
	for _, bad := range [][]any{{"alice/shop/web/2", 0}, {"alice/shop/web/2", 70_000}, {"alice/shop/web/2", 80, 80, "sctp"}} {
		if err := link.Call(t.Context(), "port_add", nil, bad...); kind(err) != placement.KindInvalid {
			t.Errorf("port_add%v: %v", bad, err)
		}
	}
}
