package appfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Bounds of a file; what lies beyond is refused before it is looked at.
const (
	maxBytes = 1 << 20
	maxNodes = 100_000 // after aliases are followed
	maxDepth = 32
)

type position struct{ line, col int }

// item is a node of the file with aliases followed and merges carried out.
type item struct {
	key  string   // in its mapping; in a list its index
	path string   // "services.web.ports.0"
	at   position // of the key, or of the list's entry
	kind yaml.Kind
	null bool
	text string  // of a scalar, as written
	kids []*item // in the order of the file
}

func (n *item) kid(key string) *item {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.key == key {
			return k
		}
	}
	return nil
}

// builder makes items of YAML nodes and collects what is wrong with them.
type builder struct {
	count    int
	report   func(problem)
	overflow bool
}

// parse reads the one document of a file.
func parse(content []byte) (*yaml.Node, *problem) {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &problem{at: position{1, 1}, what: "the file is empty", next: "write at least services: with one service that has an image:"}
	case err != nil:
		return nil, syntax(err)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, &problem{at: position{second.Line, 1}, what: "a second YAML document: not yet", why: "an app is one document", next: "remove the line --- and what follows"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntax(err)
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return &doc, nil
}

var (
	lineOf   = regexp.MustCompile(`line (\d+)`)
	columnOf = regexp.MustCompile(`column (\d+)`)
)

// syntax is the parser's error with its line as a position.
func syntax(err error) *problem {
	at := position{1, 1}
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		at.line, _ = strconv.Atoi(m[1])
	}
	if m := columnOf.FindStringSubmatch(err.Error()); m != nil {
		at.col, _ = strconv.Atoi(m[1])
	}
	return &problem{at: at, what: "this is not YAML", why: oneLine(err.Error()), next: "correct the line; indent with spaces, and quote values that contain ': ' or '#'"}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// build makes the tree below y.
func (b *builder) build(y *yaml.Node, key, path string, at position, depth int) *item {
	n := &item{key: key, path: path, at: at}
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	if b.count++; b.count > maxNodes || depth > maxDepth {
		if !b.overflow {
			b.overflow = true
			b.report(problem{at: at, what: "the file is too large", why: fmt.Sprintf("more than %d values with its aliases, or nested deeper than %d", maxNodes, maxDepth), next: "split the app"})
		}
		return n
	}
	if strings.HasPrefix(y.Tag, "!") && !strings.HasPrefix(y.Tag, "!!") {
		b.report(problem{at: position{y.Line, y.Column}, what: fmt.Sprintf("tag %s: not yet", y.Tag), why: "an app is one file, with nothing to override", next: "remove the tag"})
	}
	n.kind, n.text = y.Kind, y.Value
	n.null = y.Kind == yaml.ScalarNode && y.Tag == "!!null"
	if y.Kind == yaml.MappingNode {
		b.mapping(n, y, depth)
	}
	if y.Kind == yaml.SequenceNode {
		for i, c := range y.Content {
			k := strconv.Itoa(i)
			n.kids = append(n.kids, b.build(c, k, join(path, k), position{c.Line, c.Column}, depth+1))
		}
	}
	return n
}

// mapping adds the entries of y to n, then those merged by "<<" that y does
// not have itself.
func (b *builder) mapping(n *item, y *yaml.Node, depth int) {
	var merges []*yaml.Node
	own := map[string]position{}
	for i := 0; i+1 < len(y.Content) && !b.overflow; i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		at := position{k.Line, k.Column}
		if k.Tag == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if first, twice := own[k.Value]; twice {
			b.report(problem{at: at, what: fmt.Sprintf("%s is given twice", join(n.path, k.Value)), why: fmt.Sprintf("it is at line %d already", first.line), next: "remove one"})
			continue
		}
		own[k.Value] = at
		n.kids = append(n.kids, b.build(v, k.Value, join(n.path, k.Value), at, depth+1))
	}
	for _, m := range merges {
		for m.Kind == yaml.AliasNode {
			m = m.Alias
		}
		sources := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			sources = m.Content
		}
		for _, s := range sources {
			merged := b.build(s, n.key, n.path, n.at, depth+1)
			for _, k := range merged.kids {
				if _, have := own[k.key]; !have {
					own[k.key] = k.at
					n.kids = append(n.kids, k)
				}
			}
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
