package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A room is one package (or, ending in "/...", a folder of them): its floor,
// the reason it is there, and the packages of ours it may import. Tests may
// import what their room may, themselves and the rooms named in testMay.
type room struct {
	floor int
	why   string
	may   []string
}

const anything = "*"

var house = map[string]room{
	"internal/placement": {0, "the words; standard library only", nil},
	"rpc":                {0, "ZeroRPC; knows no container", nil},
	"internal/dice":      {0, "randomness by who throws and when; standard library only", nil},

	"internal/opfile":    {1, "the agent's (session, op) on tmpfs, which hostinfo reads", []string{"internal/placement"}},
	"internal/claim":     {1, "fences Redis in: the lock", []string{"internal/placement"}},
	"internal/dockerd":   {1, "fences Docker in: the per-user daemons", []string{"internal/placement"}},
	"internal/hostnet":   {1, "fences the kernel's network in: bridges, rules", []string{"internal/placement"}},
	"internal/images":    {1, "fences registries in", []string{"internal/placement"}},
	"internal/appfile":   {1, "fences Compose in", []string{"internal/placement"}},
	"internal/pki":       {1, "fences certificates in: the authority, who is who", []string{"internal/placement"}},
	"internal/journal":   {1, "idempotency keys in files, which outlive the process", []string{"rpc"}},
	"internal/trace":     {1, "fences OpenTelemetry in: where the time goes", []string{"rpc"}},
	"retryq":             {2, "remembers: ledger, due, bind", []string{"internal/dice", "internal/placement", "internal/trace", "retryq/rule"}},
	"retryq/rule":        {2, "the transitions of the ledger, pure", []string{"internal/placement"}},
	"retryq/boltstore":   {2, "the ledger's store in a file", []string{"retryq", "internal/placement"}},
	"retryq/memstore":    {2, "the ledger's store in memory", []string{"retryq", "internal/placement"}},
	"broadcaster":        {2, "offers and samples", []string{"internal/placement", "internal/trace", "rpc"}},
	"agent":              {2, "admits and deploys", []string{"internal/dice", "internal/placement", "internal/trace", "internal/opfile", "internal/dockerd", "rpc"}},
	"agent/console":      {2, "what people do to one node's containers", []string{"internal/placement", "internal/dockerd", "rpc"}},
	"hostinfo":           {2, "observes and watches silence", []string{"internal/dice", "internal/placement", "internal/opfile", "internal/dockerd", "rpc"}},
	"cmd/...":            {3, "where parts meet", []string{anything}},
	"examples/...":       {3, "programs to run on Longshore, and of its parts", []string{"rpc"}},
	"test/model":         {3, "the placement protocol as a small explicit-state model", []string{"agent", "internal/placement", "retryq/rule"}},
	"test/...":           {3, "whole clusters", []string{anything}},
	"retryq/storetest":   {3, "conformance suite of ledger stores", []string{"retryq"}},
	"internal/claim/...": {3, "conformance suite of claims, and a real Redis for tests", []string{"internal/placement", "internal/claim"}},
}

// outside names who alone may import a module, tests apart.
var outside = map[string]string{
	"github.com/go-zeromq/zmq4":              "rpc",
	"github.com/docker/docker":               "internal/dockerd",
	"github.com/redis/go-redis":              "internal/claim",
	"go.etcd.io/bbolt":                       "retryq/boltstore",
	"github.com/shirou/gopsutil":             "hostinfo",
	"github.com/compose-spec/compose-go":     "internal/appfile",
	"github.com/vishvananda/netlink":         "internal/hostnet",
	"github.com/google/go-containerregistry": "internal/images",
	"github.com/spf13/cobra":                 "cmd",
	"go.opentelemetry.io":                    "internal/trace",
}

// testMay names what every test may import besides.
var testMay = []string{"retryq/storetest", "retryq/memstore", "retryq/boltstore", "internal/claim/claimtest", "internal/claim/redistest", "rpc", "internal/placement", "internal/opfile"}

type pkg struct {
	ImportPath                         string
	Dir                                string
	Imports, TestImports, XTestImports []string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("../../scripts/go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,TestGoFiles,XTestGoFiles", "longshore/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// roomOf finds the line of the table that a package stands in: its own, or the
// nearest folder's.
func roomOf(path string) (room, bool) {
	if r, ok := house[path]; ok {
		return r, true
	}
	for dir := path; dir != "."; dir = filepath.Dir(dir) {
		if r, ok := house[dir+"/..."]; ok {
			return r, true
		}
	}
	return room{}, false
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, "longshore/")
		r, ok := roomOf(path)
		if !ok {
			t.Errorf("%s stands in no room of the house: give it a line with its floor and its reason", path)
			continue
		}
		check := func(imports []string, may []string) {
			for _, imp := range imports {
				ours, ok := strings.CutPrefix(imp, "longshore/")
				if !ok || slices.Contains(may, anything) || ours == path {
					continue
				}
				if !slices.Contains(may, ours) {
					t.Errorf("%s may not import %s", path, ours)
				}
				if to, ok := house[ours]; ok && to.floor > r.floor {
					t.Errorf("%s (floor %d) imports %s (floor %d): imports point down", path, r.floor, ours, to.floor)
				}
			}
		}
		check(p.Imports, r.may)
		tests := slices.Concat(r.may, testMay)
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			ours, ok := strings.CutPrefix(imp, "longshore/")
			if ok && ours != path && !slices.Contains(tests, anything) && !slices.Contains(tests, ours) && !strings.HasPrefix(ours, path+"/") {
				t.Errorf("tests of %s may not import %s", path, ours)
			}
		}
	}
}

func TestOutsideWorldsAreFencedIn(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, "longshore/")
		for module, owner := range outside {
			if path == owner || strings.HasPrefix(path, owner+"/") || strings.HasPrefix(path, "test/") {
				continue
			}
			for _, imp := range p.Imports {
				if imp == module || strings.HasPrefix(imp, module+"/") {
					t.Errorf("%s imports %s: only %s may", path, imp, owner)
				}
			}
		}
	}
}

func TestVocabularyIsStandardLibraryOnly(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath != "longshore/internal/placement" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
				t.Errorf("internal/placement imports %s", imp)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 400
	for _, p := range list(t) {
		for _, f := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b, []byte("\n")); n > most {
				t.Errorf("%s/%s has %d lines, more than %d: look for two ideas in it", strings.TrimPrefix(p.ImportPath, "longshore/"), f, n, most)
			}
		}
	}
}
