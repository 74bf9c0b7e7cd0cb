package appfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/loader"

	"longshore/internal/placement"
)

// Options are what the file leaves open.
type Options struct {
	// Owner is the owner by the command line; the file's own word counts more.
	Owner string
	// Login is the owner if neither the file nor Owner names one.
	Login string
	// Env are the variables, "NAME=value", that ${NAME} in the file may use.
	// Of two with one name the later counts.
	Env []string
	// ProjectName is the app's name by the command line, before the file's.
	// Without both it is the name of the file's directory.
	ProjectName string
	// Stdin is read where the path is "-". The directory is then the working
	// directory.
	Stdin io.Reader
}

// Warning is something of the file that has no effect.
type Warning struct {
	File         string
	Line, Column int
	Text         string
}

// String is "app.yaml:1:1: text".
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", w.File, w.Line, w.Column, w.Text)
}

// Load reads the app.yaml at path, or opts.Stdin if path is "-". Images are
// left as written. The error is a *[placement.Error]; it names the first thing
// that is wrong in full and lists the others.
func Load(ctx context.Context, path string, opts Options) (placement.App, []Warning, error) {
	content, dir, file, err := read(path, opts.Stdin)
	if err != nil {
		return placement.App{}, nil, err
	}
	doc, bad := parse(content)
	if bad != nil {
		return placement.App{}, nil, fail(file, []problem{*bad})
	}
	l := &linter{fields: composeFields()}
	b := &builder{report: l.add}
	root := b.build(doc, "", "", position{max(1, doc.Line), max(1, doc.Column)}, 0)
	if b.overflow {
		return placement.App{}, nil, fail(file, l.problems)
	}

	env := environment(opts.Env)
	name := l.name(root, opts.ProjectName, dir, env)
	env[consts.ComposeProjectName] = name
	l.lookup = func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	l.file(root)
	inFile := l.owners(root)
	owner := cmp.Or(inFile, opts.Owner, opts.Login)
	if err := placement.CheckName("owner", owner); err != nil && inFile == "" {
		l.add(problem{at: root.at, what: fmt.Sprintf("owner %q is not a valid name", owner), why: "neither the file nor --owner names another", next: "write x-sched: {owner: NAME} at the top of the file, or pass --owner NAME"})
	}
	if len(l.problems) > 0 {
		return placement.App{}, nil, fail(file, l.problems)
	}

	project, err := compose(ctx, doc, root, name, dir, file, env)
	if err != nil {
		return placement.App{}, nil, fail(file, []problem{locate(root, err)})
	}
	app, problems := convert(project, root)
	app.Owner, app.Name = owner, name
	l.problems = append(l.problems, problems...)
	if len(l.problems) > 0 {
		return placement.App{}, nil, fail(file, l.problems)
	}
	for i := range l.warnings {
		l.warnings[i].File = file
	}
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return app, l.warnings, nil
}

// read is the file's bytes, its directory and its name for people.
func read(path string, stdin io.Reader) (content []byte, dir, file string, err error) {
	in, file := stdin, path
	if path == "-" {
		file, path = "stdin", "."
		if stdin == nil {
			in = strings.NewReader("")
		}
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, "", "", unreadable(path, err)
		}
		defer f.Close()
		in, path = f, filepath.Dir(path)
	}
	if dir, err = filepath.Abs(path); err != nil {
		return nil, "", "", unreadable(file, err)
	}
	content, err = io.ReadAll(io.LimitReader(in, maxBytes+1))
	if err != nil {
		return nil, "", "", unreadable(file, err)
	}
	if len(content) > maxBytes {
		return nil, "", "", &placement.Error{Kind: placement.KindInvalid, What: file + ":1:1: the file is too large", Why: fmt.Sprintf("it has more than %d bytes", maxBytes), Next: "split the app"}
	}
	return content, dir, file, nil
}

func unreadable(file string, err error) error {
	e := &placement.Error{Kind: placement.KindInvalid, What: "cannot read " + file, Why: err.Error(), Next: "name an app.yaml that you may read, or - for standard input"}
	if errors.Is(err, fs.ErrNotExist) {
		e.Kind = placement.KindNotFound
	}
	return e
}

func environment(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return env
}

// name is the app's name: the option's, the file's, the directory's.
func (l *linter) name(root *item, option, dir string, env map[string]string) string {
	at, name, from := root.at, option, "--project-name"
	if k := root.kid("name"); option == "" && k != nil && !k.null {
		text, err := expand(k.text, func(v string) (string, bool) { s, ok := env[v]; return s, ok })
		if err != nil {
			return "unset" // reported with all other variables
		}
		at, name, from = k.at, text, "name:"
	}
	if name == "" {
		at, name, from = root.at, loader.NormalizeProjectName(filepath.Base(dir)), "the directory"
	}
	if err := placement.CheckName("app", name); err != nil || loader.NormalizeProjectName(name) != name {
		l.add(problem{at: at, what: fmt.Sprintf("app %q, by %s, is not a valid name", name, from), why: "names of apps have 1 to 63 of a-z, 0-9, - and _, and begin with a letter or digit", next: "write name: NAME at the top of the file"})
	}
	return name
}
