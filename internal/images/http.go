package images

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

// maxManifest bounds a manifest, in bytes.
const maxManifest = 4 << 20

// answer is a response held whole in memory, so that the handler that wrote it
// is done, and its locks are free, before the first byte goes to a client.
type answer struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{code: http.StatusOK, header: http.Header{}} }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// send passes the answer on.
func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body.Bytes()) // a client that left is no error of ours
}

// refuse answers with an error in the form of the registry's protocol, which
// Docker shows to its user.
func refuse(w http.ResponseWriter, status int, code, message string) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	b, err := json.Marshal(map[string][]item{"errors": {{code, message}}})
	if err != nil { // two strings always marshal
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// welcome answers the check that every client begins with.
func welcome(w http.ResponseWriter) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Content-Length", "2")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }
