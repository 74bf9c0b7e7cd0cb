package placement

import "strings"

// Kinds of errors that cross the wire, as the name of the error triple. The
// list is closed and only ever appended to.
const (
	KindInvalid     = "Invalid"     // the request itself is wrong; the same again fails again
	KindNotFound    = "NotFound"    // no such app, replica, node or image
	KindConflict    = "Conflict"    // somebody else changed it first
	KindRefused     = "Refused"     // not allowed, or not in this state
	KindUnavailable = "Unavailable" // try again later
	KindRegister    = "Register"    // the caller must register (again) first
)

// Error tells a person what failed, why (with numbers) and what to do next.
// It crosses the wire whole.
type Error struct {
	Kind string `json:"kind"`
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	Next string `json:"next,omitempty"`
}

// Error is the three parts, a line each.
func (e *Error) Error() string {
	lines := []string{e.What}
	if e.Why != "" {
		lines = append(lines, "why: "+e.Why)
	}
	if e.Next != "" {
		lines = append(lines, "next: "+e.Next)
	}
	return strings.Join(lines, "\n")
}

// ErrorName is the name of the error triple on the wire.
func (e *Error) ErrorName() string { return e.Kind }

// ErrorFrom is the inverse of sending an Error as a triple: name and message.
func ErrorFrom(name, message string) *Error {
	e := &Error{Kind: name}
	for i, line := range strings.Split(message, "\n") {
		switch why, isWhy := strings.CutPrefix(line, "why: "); {
		case isWhy && i > 0:
			e.Why = why
		case strings.HasPrefix(line, "next: ") && i > 0:
			e.Next = strings.TrimPrefix(line, "next: ")
		case e.What == "":
			e.What = line
		default:
			e.What += "\n" + line
		}
	}
	return e
}
