package wiring

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longshore/agent"
	"longshore/agent/console"
	"longshore/broadcaster"
	"longshore/hostinfo"
	"longshore/internal/trace"
	"longshore/rpc"
)

const (
	docsFile   = "../../../docs/rpc.md"
	docsMarker = "<!-- What follows is written by `make docs` from the method tables. -->\n"
)

// TestDocs: docs/rpc.md is what the method tables say. `make docs` sets
// UPDATE_DOCS, which writes it; what is above the marker is written by hand.
func TestDocs(t *testing.T) {
	t.Parallel()
	is, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, marked := strings.Cut(string(is), docsMarker)
	if !marked {
		t.Fatalf("%s has no line %s", docsFile, docsMarker)
	}
	d := docs{types: map[reflect.Type]bool{}}
	want := head + docsMarker + d.all()
	if string(is) == want {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatal("docs/rpc.md does not say what the method tables say: make docs")
	}
	if err := os.WriteFile(docsFile, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// docs writes what the tables say, and gathers the types that they name.
type docs struct {
	strings.Builder
	types map[reflect.Type]bool
	todo  []reflect.Type
}

func (d *docs) all() string {
	caster := (*broadcaster.Broadcaster)(nil)
	d.section("Methods of a broadcaster", "For people and scripts.", broadcasterGrants(), caster.ClientMethods(), (*trace.Tracer)(nil).Methods())
	d.section("Methods of a node", "Of agentd, on the node's socket, and through `call` and `call_stream` of the broadcaster.", nodeGrants(), new(console.Console).Methods(), (*agent.Agent)(nil).Methods(), (*trace.Tracer)(nil).Methods())
	d.section("Methods of hostinfod", "On its own socket.", nodeGrants(), (*hostinfo.Watcher)(nil).Methods())
	d.section("Between broadcaster and nodes", "The links' own words. Those of a broadcaster:", broadcasterGrants(), caster.NodeMethods(), (*hostinfo.Collector)(nil).Methods(), issuer{}.methods())
	d.section("", "Those of an agent, on its link to the broadcaster alone:", nodeGrants(), (*agent.Agent)(nil).LinkMethods())
	d.WriteString("\n## Types\n\nMaps, with these keys. What a caller leaves out is 0, \"\" or false.\n")
	var named []string
	texts := map[string]string{}
	for len(d.todo) > 0 {
		t := d.todo[0]
		d.todo = d.todo[1:]
		name := typeName(t)
		named = append(named, name)
		texts[name] = d.describe(t)
	}
	slices.Sort(named)
	for _, name := range named {
		d.WriteString("\n" + texts[name])
	}
	return d.String()
}

func (d *docs) section(title, about string, who grants, tables ...rpc.Methods) {
	all := rpc.Methods{}
	for _, table := range tables {
		maps.Copy(all, table)
	}
	if title != "" {
		fmt.Fprintf(d, "\n## %s\n", title)
	}
	fmt.Fprintf(d, "\n%s\n", about)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		args := make([]string, len(m.Args))
		for i, arg := range m.Args {
			args[i] = arg
			if i < len(m.In) {
				args[i] += ": " + d.word(m.In[i])
			}
			if at := i - len(m.Args) + len(m.Defaults); at >= 0 {
				args[i] += " (may be left out)"
			}
		}
		gives := ""
		switch {
		case m.Stream != nil:
			gives = " → stream"
		case m.Out != nil:
			gives = " → " + d.word(m.Out)
		}
		fmt.Fprintf(d, "\n**%s**(%s)%s\\\n%s\\\nRoles: %s.", name, strings.Join(args, ", "), gives, m.Doc, strings.Join(who[name], ", "))
		if m.Key != "" {
			fmt.Fprintf(d, " Idempotency key: the field `%s`, or the header.", m.Key)
		}
		d.WriteString("\n")
	}
}

// word is a type as it travels; of a map with fixed keys the name.
func (d *docs) word(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return d.word(t.Elem())
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bin"
		}
		return "list of " + d.word(t.Elem())
	case reflect.Map:
		return "map of " + d.word(t.Elem())
	case reflect.Struct:
		if !d.types[t] {
			d.types[t] = true
			d.todo = append(d.todo, t)
		}
		return fmt.Sprintf("[%s](#%s)", typeName(t), strings.ToLower(typeName(t)))
	case reflect.Interface:
		return "any"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "str"
	case reflect.Float32, reflect.Float64:
		return "float"
	default:
		if t.Name() == "Millis" {
			return "int, ms"
		}
		return "int"
	}
}

// typeName tells apart types of one name in several packages.
func typeName(t reflect.Type) string {
	pkg := path.Base(t.PkgPath())
	if pkg == "placement" {
		return t.Name()
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + t.Name()
}

// describe is one type with its keys and what its source says about them.
func (d *docs) describe(t reflect.Type) string {
	told := sourceOf(t)
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", typeName(t))
	if about := told[""]; about != "" {
		fmt.Fprintf(&b, "%s\n\n", about)
	}
	b.WriteString("| key | type | |\n|---|---|---|\n")
	d.keys(&b, t, told)
	return b.String()
}

func (d *docs) keys(b *strings.Builder, t reflect.Type, told map[string]string) {
	for f := range t.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && key == "":
			d.keys(b, f.Type, sourceOf(f.Type))
		case !f.IsExported() || key == "-":
		default:
			if key == "" {
				key = f.Name
			}
			fmt.Fprintf(b, "| %s | %s | %s |\n", key, d.word(f.Type), strings.ReplaceAll(told[f.Name], "|", `\|`))
		}
	}
}

// sourceOf reads what the source says about a type ("") and each of its fields.
func sourceOf(t reflect.Type) map[string]string {
	told := map[string]string{}
	dir := filepath.Join("../../..", strings.TrimPrefix(t.PkgPath(), "longshore/"))
	files, _ := filepath.Glob(filepath.Join(dir, "*.go")) // the pattern is well formed
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			continue
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			g, ok := n.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				return true
			}
			for _, s := range g.Specs {
				if spec := s.(*ast.TypeSpec); spec.Name.Name == t.Name() { //nolint:forcetypeassert // of TYPE all are
					told[""] = line(g.Doc)
					fields(spec, told)
				}
			}
			return false
		})
	}
	return told
}

func fields(spec *ast.TypeSpec, told map[string]string) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			told[name.Name] = strings.TrimSpace(line(f.Doc) + " " + line(f.Comment))
		}
	}
}

// line is a comment in one line, as Markdown.
func line(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	text, _, _ := strings.Cut(c.Text(), "\n\n")
	return strings.NewReplacer("\n", " ", "[", "", "]", "", "<", "&lt;").Replace(strings.TrimSpace(text))
}
