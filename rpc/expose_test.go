package rpc_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"
	"testing"

	"longshore/rpc"
)

//go:embed expose_test.go
var exposeSource string

// tally is a value of no particular kind.
type tally struct{ n int }

// Add adds some to the counter,
// and answers what it is then.
//
// It may be negative.
func (c *tally) Add(n int) int { c.n += n; return c.n }

// HTTPStatus says how it is.
func (*tally) HTTPStatus(_ context.Context, call *rpc.Call, code int, text *string) (map[string]any, error) {
	if text == nil {
		return nil, errors.New("no text")
	}
	return map[string]any{"code": code, "text": *text, "peer": call.Peer.Name}, nil
}

func (*tally) Reset() {}

// Fail fails.
func (*tally) Fail(_ context.Context, how string) error { return errors.New(how) }

// CountTo sends numbers; above ten it fails.
func (*tally) CountTo(end int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range end {
			if i == 10 {
				yield(0, errors.New("tired"))
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Letters sends the letters of a word.
func (*tally) Letters(ctx context.Context, word string, _ *bool) (iter.Seq[string], error) {
	if word == "" {
		return nil, errors.New("no word")
	}
	return strings.SplitSeq(word, ""), ctx.Err()
}

func TestExpose(t *testing.T) {
	tr := rpc.Memory()
	at, _ := server(t, tr, "x", rpc.Config{Identity: "tally", Methods: rpc.Expose(&tally{}, exposeSource)})
	l := dial(t, tr, at, rpc.Config{Identity: "me"})
	for _, c := range []struct {
		method string
		args   []any
		want   any
		fails  string
	}{
		{"add", []any{2}, int64(2), ""},
		{"add", []any{-3}, int64(-1), ""},
		{"add", []any{"x"}, nil, "Invalid: add: argument 1"},
		{"add", nil, nil, "Invalid: add takes 1 arguments, got 0"},
		{"reset", nil, nil, ""},
		{"fail", []any{"so"}, nil, "RemoteError: so"},
		{"http_status", []any{200, "ok"}, map[string]any{"code": int64(200), "text": "ok", "peer": "me"}, ""},
		{"http_status", []any{200}, nil, "RemoteError: no text"},
		{"_zerorpc_list", nil, []any{"add", "count_to", "fail", "http_status", "letters", "reset"}, ""},
		{"_zerorpc_help", []any{"add"}, "Add adds some to the counter, and answers what it is then.\n\nIt may be negative.", ""},
		{"_zerorpc_args", []any{"http_status"}, []any{[]any{"code", "text"}, nil, nil, []any{nil}}, ""},
		{"_zerorpc_args", []any{"letters"}, []any{[]any{"word", "bool"}, nil, nil, []any{nil}}, ""},
		{"_zerorpc_args", []any{"reset"}, []any{[]any{}, nil, nil, nil}, ""},
	} {
		var got any
		err := l.Call(within(t), c.method, &got, c.args...)
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v, want %s", c.method, err, c.fails)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v", c.method, got)
		}
	}
	for _, c := range []struct {
		method string
		arg    any
		items  string
		end    string
	}{
		{"count_to", 3, "[0 1 2]", "EOF"},
		{"count_to", 12, "[0 1 2 3 4 5 6 7 8 9]", "RemoteError: tired"},
		{"letters", "abc", "[a b c]", "EOF"},
		{"letters", "", "[]", "RemoteError: no word"},
	} {
		s, err := l.Stream(within(t), c.method, c.arg)
		must(t, err)
		items, err := drain(s)
		if fmt.Sprint(items) != c.items || err.Error() != c.end {
			t.Errorf("%s(%v): %v, %v", c.method, c.arg, items, err)
		}
	}
}

// drain takes all items, and what ended them.
func drain(s *rpc.Stream) (items []any, err error) {
	for {
		var item any
		if err := s.Next(&item); err != nil {
			return items, err
		}
		items = append(items, item)
	}
}

type odd struct{}

func (odd) Three() (int, int, error) { return 1, 2, nil }
func (odd) Any(...int) int           { return 0 }
func (odd) Chan() chan int           { return nil }

func TestExposeRefuses(t *testing.T) {
	tr := rpc.Memory()
	serve := func(m rpc.Methods) error {
		l, err := tr.Listen(within(t), "x")
		must(t, err)
		return rpc.Serve(within(t), l, rpc.Config{Methods: m})
	}
	for name := range rpc.Expose(odd{}) {
		if err := serve(rpc.Methods{name: rpc.Expose(odd{})[name]}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s was served", name)
		}
	}
	if err := serve(rpc.Expose(&tally{}, "no Go")); err == nil || !strings.Contains(err.Error(), "source of tally") {
		t.Errorf("a source that is none: %v", err)
	}
}

func TestExposeWithoutSource(t *testing.T) {
	got := rpc.Expose(&tally{})["http_status"]
	if !reflect.DeepEqual(got.Args, []string{"int", "string"}) || got.Doc != "" {
		t.Errorf("%+v", got)
	}
}
