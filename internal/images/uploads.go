package images

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	uploadsPerOwner = 64              // pushes of layers under way at once
	uploadIdle      = time.Hour       // an upload untouched for so long is dropped
	bodyStall       = 2 * time.Minute // a body of which nothing comes for so long has failed
)

// uploads are the layers that are being pushed in pieces. go-containerregistry
// would hold each in memory, all under one lock; here each is a file.
type uploads struct {
	dir string

	mu   sync.Mutex
	open map[string]*upload
}

// upload is one layer on its way in. Whoever has set busy owns the file.
type upload struct {
	repo, owner string
	busy        bool
	touched     time.Time
}

// newUploads drops what an earlier process left in dir.
func newUploads(dir string) (*uploads, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	return &uploads{dir: dir, open: map[string]*upload{}}, nil
}

func (u *uploads) file(id string) string { return filepath.Join(u.dir, id) }

// start begins an upload, unless the owner has too many under way.
func (u *uploads) start(t target) (id string, err error) {
	u.mu.Lock()
	var idle []string
	now, count := time.Now(), 0
	for id, o := range u.open {
		switch {
		case !o.busy && now.Sub(o.touched) > uploadIdle:
			delete(u.open, id)
			idle = append(idle, id)
		case o.owner == t.owner:
			count++
		}
	}
	if count < uploadsPerOwner {
		id = rand.Text()
		u.open[id] = &upload{repo: t.repo, owner: t.owner, touched: now}
	}
	u.mu.Unlock()
	for _, id := range idle {
		err = errors.Join(err, removeIfThere(u.file(id)))
	}
	if err != nil {
		return "", fmt.Errorf("drop idle upload: %w", err)
	}
	return id, nil
}

// take gives the caller the upload alone, until give or end.
func (u *uploads) take(t target) (status int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.open[t.ref]
	switch {
	case o == nil || o.repo != t.repo:
		return http.StatusNotFound, errors.New("there is no such upload: begin again")
	case o.busy:
		return http.StatusConflict, errors.New("another request is writing to this upload")
	}
	o.busy = true
	return http.StatusOK, nil
}

func (u *uploads) give(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if o := u.open[id]; o != nil {
		o.busy, o.touched = false, time.Now()
	}
}

func (u *uploads) end(id string) error {
	err := removeIfThere(u.file(id))
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, id)
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// startUpload answers POST: the whole layer, or the beginning of one in pieces.
func (r *Registry) startUpload(w http.ResponseWriter, req *http.Request, t target) {
	if digest := req.URL.Query().Get("digest"); digest != "" {
		if !digestForm.MatchString(digest) {
			refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "only sha256 digests are supported")
			return
		}
		out := req.Clone(req.Context())
		out.URL.Path = t.path()
		out.Body = r.body(w, req)
		r.inner.ServeHTTP(w, out)
		return
	}
	id, err := r.uploads.start(t)
	switch {
	case err != nil:
		r.log.Error("upload not started", "repo", t.repo, "err", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry cannot store the layer")
	case id == "":
		refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", fmt.Sprintf("%s has %d uploads under way", t.owner, uploadsPerOwner))
	default:
		t.kind, t.ref = kindUpload, id
		uploadState(w, http.StatusAccepted, t, 0)
	}
}

// uploadState tells the client where the upload is and how much of it is here.
func uploadState(w http.ResponseWriter, status int, t target, size int64) {
	w.Header().Set("Location", t.path())
	w.Header().Set("Docker-Upload-Uuid", t.ref)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// continueUpload answers PATCH (a piece), PUT (the last piece and the digest),
// GET (how far) and DELETE (never mind) of an upload.
func (r *Registry) continueUpload(w http.ResponseWriter, req *http.Request, t target) {
	if status, err := r.uploads.take(t); err != nil {
		code := "BLOB_UPLOAD_UNKNOWN"
		if status == http.StatusConflict {
			code = "BLOB_UPLOAD_INVALID"
		}
		refuse(w, status, code, err.Error())
		return
	}
	over := false
	switch req.Method {
	case http.MethodPatch:
		if size, ok := r.addPiece(w, req, t); ok {
			uploadState(w, http.StatusAccepted, t, size)
		}
	case http.MethodPut:
		over = r.finishUpload(w, req, t)
	case http.MethodGet:
		var size int64
		if info, err := os.Stat(r.uploads.file(t.ref)); err == nil {
			size = info.Size()
		}
		uploadState(w, http.StatusNoContent, t, size)
	case http.MethodDelete:
		over = true
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method+" is not supported here")
	}
	if !over {
		r.uploads.give(t.ref)
	} else if err := r.uploads.end(t.ref); err != nil {
		r.log.Error("upload not removed", "repo", t.repo, "err", err)
	}
}

// addPiece appends the request's body to the upload and answers it if that
// fails. What was read before a failure stays: the client may ask and go on.
func (r *Registry) addPiece(w http.ResponseWriter, req *http.Request, t target) (size int64, ok bool) {
	f, err := os.OpenFile(r.uploads.file(t.ref), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		r.log.Error("upload not written", "repo", t.repo, "err", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry cannot store the layer")
		return 0, false
	}
	info, err := f.Stat()
	if err == nil {
		size = info.Size()
		if begin, given := pieceStart(req); given && begin != size {
			err = errors.Join(errors.New("out of order"), f.Close())
			w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", fmt.Sprintf("%v: %d bytes are here", err, size))
			return size, false
		}
		var n int64
		n, err = io.Copy(f, io.LimitReader(r.body(w, req), r.opts.MaxBlob-size+1))
		size += n
	}
	err = errors.Join(err, f.Close())
	tooLarge := new(http.MaxBytesError)
	switch {
	case err != nil && !errors.As(err, &tooLarge):
		refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "store layer: "+err.Error())
	case err != nil || size > r.opts.MaxBlob:
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a layer has at most %d bytes here", r.opts.MaxBlob))
	default:
		return size, true
	}
	return size, false
}

// pieceStart is where the client believes its piece begins.
func pieceStart(req *http.Request) (begin int64, given bool) {
	_, err := fmt.Sscanf(strings.TrimPrefix(req.Header.Get("Content-Range"), "bytes "), "%d-", &begin)
	return begin, err == nil
}

// finishUpload hands the whole layer to go-containerregistry, which checks the
// digest. It tells whether the upload is over.
func (r *Registry) finishUpload(w http.ResponseWriter, req *http.Request, t target) (over bool) {
	digest := req.URL.Query().Get("digest")
	if !digestForm.MatchString(digest) {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "only sha256 digests are supported")
		return false
	}
	if _, ok := r.addPiece(w, req, t); !ok {
		return false
	}
	f, err := os.Open(r.uploads.file(t.ref))
	if err != nil {
		r.log.Error("upload not read", "repo", t.repo, "err", err)
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the registry cannot read the layer")
		return true
	}
	defer func() { _ = f.Close() }() // only read
	a := r.call(req.Context(), http.MethodPost, target{kind: kindUploads, repo: t.repo}.path()+"?digest="+digest, "", f)
	a.header.Set("Location", target{kind: kindBlob, repo: t.repo, ref: digest}.path())
	a.send(w)
	return true
}

// body is the request's body within MaxBlob, failing when it stalls.
func (r *Registry) body(w http.ResponseWriter, req *http.Request) io.ReadCloser {
	return &patient{rc: http.NewResponseController(w), ReadCloser: http.MaxBytesReader(w, req.Body, r.opts.MaxBlob)}
}

// patient reads for as long as something comes.
type patient struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(bodyStall)) // not every ResponseWriter can
	n, err := p.ReadCloser.Read(b)
	if err != nil {
		_ = p.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
