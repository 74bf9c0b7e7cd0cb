package appfile

import (
	"fmt"
	"regexp"

	"github.com/compose-spec/compose-go/v2/template"
)

// braced is ${NAME op text}, without what may follow the closing brace.
var braced = regexp.MustCompile(`(?s)^\$\{([_a-zA-Z][_a-zA-Z0-9]*)(:?[-+?])(.*)\}$`)

// unset is the error of a variable that is used without a default.
type unset struct {
	name   string
	reason string // of ${NAME:?reason}
}

func (u *unset) Error() string { return fmt.Sprintf("variable %s is not set", u.name) }

// expand replaces the variables in s as Compose does, but an unset variable is
// an error instead of "", and nothing is logged. A variable in a default that
// is not used may be unset.
func expand(s string, lookup template.Mapping) (string, error) {
	return template.SubstituteWithOptions(s, lookup, template.WithoutLogging,
		template.WithReplacementFunction(func(match string, lookup template.Mapping, cfg *template.Config) (string, error) {
			// The pattern is greedy: "${A:-x}/${B}" is one match.
			head, rest := match, ""
			if end := closing(match); end >= 0 {
				head, rest = match[:end+1], match[end+1:]
			}
			value, err := expandOne(head, lookup, cfg)
			if err != nil {
				return "", err
			}
			rest, err = expand(rest, lookup)
			return value + rest, err
		}))
}

func expandOne(head string, lookup template.Mapping, cfg *template.Config) (string, error) {
	m := braced.FindStringSubmatch(head)
	if m == nil {
		var err error
		value, set, err := template.DefaultReplacementAppliedFunc(head, lookup, cfg)
		if err == nil && !set {
			err = &unset{name: plainName(head)}
		}
		return value, err
	}
	name, op, text := m[1], m[2], m[3]
	value, set := lookup(name)
	if len(op) == 2 { // ':' counts an empty variable as unset
		set = set && value != ""
	}
	switch op[len(op)-1] {
	case '-':
		if set {
			return value, nil
		}
		return expand(text, lookup)
	case '+':
		if set {
			return expand(text, lookup)
		}
		return "", nil
	default: // '?'
		if set {
			return value, nil
		}
		return "", &unset{name: name, reason: text}
	}
}

func plainName(head string) string {
	if len(head) > 3 && head[1] == '{' {
		return head[2 : len(head)-1]
	}
	return head[1:]
}

// closing is the index of the brace that closes the first one of s, or -1.
func closing(s string) int {
	open := 0
	for i, c := range s {
		switch c {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}
