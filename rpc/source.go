package rpc

import (
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"strings"
)

// declared is what the source says of a method and its type does not.
type declared struct {
	doc    string
	params []string // names, _ where it has none
}

// readSource finds the methods of a type in Go text.
func readSource(typeName string, sources []string) (map[string]declared, error) {
	told := map[string]declared{}
	for _, text := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), "", text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("the source of %s: %w", typeName, err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv != nil && len(f.Recv.List) == 1 && receiver(f.Recv.List[0].Type) == typeName {
				told[f.Name.Name] = declared{doc: flow(f.Doc.Text()), params: params(f.Type.Params)}
			}
		}
	}
	return told, nil
}

// receiver is the name of the type of a receiver: T, *T or T[P].
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	}
	return ""
}

func params(fields *ast.FieldList) []string {
	var names []string
	for _, f := range fields.List {
		if len(f.Names) == 0 {
			names = append(names, "_")
		}
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// flow puts each paragraph of a comment on one line: stock clients show the
// first line as the summary.
func flow(text string) string {
	var p comment.Parser
	return strings.TrimSpace(string((&comment.Printer{TextWidth: -1}).Text(p.Parse(text))))
}
