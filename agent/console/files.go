package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
)

const (
	readChunk   = 64 << 10
	maxUploads  = 16 // begun and not ended, of all callers
	uploadPause = 30 * time.Second
)

// Upload is the argument of cp_in: a tar archive, or a part of one.
type Upload struct {
	Container string `json:"container"`
	Path      string `json:"path"`   // directory that it is unpacked into
	Tar       []byte `json:"tar"`    // at most about 4 MiB in one call
	Upload    string `json:"upload"` // names an archive that comes in several calls; "": this is all of it
	Offset    int64  `json:"offset"` // of this part in the archive
	More      bool   `json:"more"`   // another part follows within 30 s
}

func (c *Console) fileMethods() rpc.Methods {
	return rpc.Methods{
		"cp_out": {
			Doc:    "Stream a file or directory of a container as the bytes of a tar archive, whose names begin with the last part of the path.",
			Args:   []string{"container", "path"},
			In:     []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[string]()},
			Stream: c.copyOut,
		},
		"cp_in": rpc.Unary("Unpack a tar archive into a directory of a container. The argument is a map: container, path, tar (bin, up to 3 MiB). A larger archive comes in several calls with the same upload (any text of the caller's), offset, and more=true in all but the last; a part sent twice is taken once. Answers how many bytes have come.", "archive", c.copyIn),
	}
}

func (c *Console) copyOut(ctx context.Context, call *rpc.Call, send func(any) error) error {
	var name, path string
	if err := call.Decode(&name, &path); err != nil {
		return err
	}
	id, err := c.find(call, name)
	if err != nil {
		return err
	}
	body, err := c.Insides.ReadFiles(ctx, id, path)
	if err != nil {
		return err
	}
	defer body.Close()
	buffer := make([]byte, readChunk)
	for {
		n, err := io.ReadFull(body, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		default:
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
}

func (c *Console) copyIn(ctx context.Context, call *rpc.Call, u Upload) (int64, error) {
	id, err := c.find(call, u.Container)
	if err != nil {
		return 0, err
	}
	if u.Upload == "" && u.More || len(u.Upload) > 128 || u.Offset < 0 {
		return 0, &placement.Error{Kind: placement.KindInvalid, What: "this is no part of an archive", Why: fmt.Sprintf("upload is %.20q, offset %d", u.Upload, u.Offset), Next: "name an archive of several parts by 1 to 128 bytes"}
	}
	key := fmt.Sprintf("%s %s %s %s", by(call), id, u.Path, u.Upload)
	if u.Upload == "" {
		key = ""
	}
	up, err := c.uploads.begin(ctx, key, u.Offset, func(ctx context.Context, r io.Reader) error {
		return c.Insides.WriteFiles(ctx, id, u.Path, r)
	})
	if err != nil {
		return 0, err
	}
	return up.feed(ctx, u)
}

// uploads are the archives that come in several calls.
type uploads struct {
	mu    sync.Mutex
	open  map[string]*upload
	count int // of archives that came in one call
}

// upload is one archive on its way into a container. It ends with its last
// part, by a part that fails, or when no part comes for 30 s.
type upload struct {
	turn chan struct{} // of whoever feeds it
	pipe *io.PipeWriter
	idle *time.Timer
	done chan struct{} // closed when err is set
	err  error

	at int64 // bytes that have come; of whoever has the turn
}

var errOver = &placement.Error{Kind: placement.KindInvalid, What: "the archive has ended", Next: "send another under another name"}

var errIdle = &placement.Error{Kind: placement.KindUnavailable, What: "the archive was given up", Why: "no part of it came for 30 s", Next: "send it again, from the beginning"}

// begin finds the archive's upload, or makes one for a part that is the first.
func (u *uploads) begin(call context.Context, key string, offset int64, write func(context.Context, io.Reader) error) (*upload, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if up := u.open[key]; up != nil && key != "" {
		return up, nil
	}
	switch {
	case offset != 0:
		return nil, &placement.Error{Kind: placement.KindNotFound, What: "there is no such archive on its way", Why: "it was given up, or ended", Next: "send it again, from the beginning"}
	case len(u.open) >= maxUploads:
		return nil, &placement.Error{Kind: placement.KindUnavailable, What: "no archive can be taken now", Why: fmt.Sprintf("%d are on their way", len(u.open)), Next: "try again"}
	}
	if key == "" {
		u.count++
		key = fmt.Sprint(u.count) // of one call alone; the others have spaces
	}
	r, w := io.Pipe()
	up := &upload{turn: make(chan struct{}, 1), pipe: w, done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(call)) // it outlives its calls, and ends by itself
	up.idle = time.AfterFunc(uploadPause, func() {
		w.CloseWithError(errIdle)
		cancel(errIdle)
	})
	u.open[key] = up
	go func() {
		defer cancel(nil)
		if up.err = write(ctx, r); up.err != nil {
			r.CloseWithError(up.err)
		}
		r.CloseWithError(errOver) // parts that still come
		up.idle.Stop()
		u.mu.Lock()
		delete(u.open, key)
		u.mu.Unlock()
		close(up.done)
	}()
	return up, nil
}

// feed writes one part, and with the last waits until all is unpacked.
func (up *upload) feed(ctx context.Context, part Upload) (int64, error) {
	select {
	case up.turn <- struct{}{}:
		defer func() { <-up.turn }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if part.Offset > up.at {
		return up.at, &placement.Error{Kind: placement.KindInvalid, What: "a part of the archive is missing", Why: fmt.Sprintf("%d bytes came, and this part begins at %d", up.at, part.Offset), Next: "send what is missing first"}
	}
	up.idle.Reset(uploadPause)
	stop := context.AfterFunc(ctx, func() { up.pipe.CloseWithError(context.Cause(ctx)) })
	fresh := part.Tar[min(up.at-part.Offset, int64(len(part.Tar))):] // sent twice, taken once
	n, err := up.pipe.Write(fresh)
	up.at += int64(n)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && part.More {
		return up.at, nil
	}
	up.pipe.CloseWithError(err)
	select {
	case <-up.done:
	case <-ctx.Done():
		return up.at, context.Cause(ctx)
	}
	if up.err != nil {
		return up.at, up.err
	}
	return up.at, err
}
