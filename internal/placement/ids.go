package placement

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// NodeID names a node. It is the name in the node's certificate; in `dev`, of
// its state directory.
type NodeID string

// Replica is what people type: "owner/app/service/n", n counted from 1.
type Replica string

// ID names a placement, one life of a replica: "owner/app/service/n.k", where
// k is a [Life]. It is the unit of queue, claim and report.
type ID string

var name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$`)

// CheckName says why s cannot be the name of an owner, an app, a service or a
// node. Names have 1 to 63 of a-z, A-Z, 0-9, '-' and '_', and begin with a
// letter or a digit. what is the word used in the error ("service").
func CheckName(what, s string) error {
	if name.MatchString(s) {
		return nil
	}
	return &Error{
		Kind: KindInvalid,
		What: fmt.Sprintf("%s %q is not a valid name", what, s),
		Why:  "names have 1 to 63 of a-z, A-Z, 0-9, - and _, and begin with a letter or digit",
		Next: "choose another name",
	}
}

// NewReplica joins checked names to a replica's name.
func NewReplica(owner, app, service string, n int) Replica {
	return Replica(owner + "/" + app + "/" + service + "/" + strconv.Itoa(n))
}

// ParseReplica checks that s is "owner/app/service/n".
func ParseReplica(s string) (Replica, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return "", &Error{Kind: KindInvalid, What: fmt.Sprintf("%q names no replica", s), Why: "a replica is OWNER/APP/SERVICE/N", Next: "schedctl ps lists them"}
	}
	for i, what := range []string{"owner", "app", "service"} {
		if err := CheckName(what, parts[i]); err != nil {
			return "", err
		}
	}
	if n, err := strconv.Atoi(parts[3]); err != nil || n < 1 || strconv.Itoa(n) != parts[3] {
		return "", &Error{Kind: KindInvalid, What: fmt.Sprintf("%q names no replica", s), Why: fmt.Sprintf("%q is not a number from 1", parts[3]), Next: "schedctl ps lists them"}
	}
	return Replica(s), nil
}

func (r Replica) part(i int) string {
	parts := strings.SplitN(string(r), "/", 4)
	if i < len(parts) {
		return parts[i]
	}
	return ""
}

// Owner is the user whose daemon runs the replica.
func (r Replica) Owner() string { return r.part(0) }

// App is the name of the app that the replica belongs to.
func (r Replica) App() string { return r.part(1) }

// Service is the name of the service in its app.
func (r Replica) Service() string { return r.part(2) }

// Number counts the replicas of a service, from 1.
func (r Replica) Number() int { n, _ := strconv.Atoi(r.part(3)); return n }

// Placement is the life k of the replica.
func (r Replica) Placement(k Life) ID { return ID(string(r) + "." + string(k)) }

// ParseID checks that s is "owner/app/service/n.k".
func ParseID(s string) (ID, error) {
	replica, k, ok := strings.Cut(s, ".")
	if !ok || !Epoch(k).Valid() {
		return "", &Error{Kind: KindInvalid, What: fmt.Sprintf("%q names no placement", s), Why: "a placement is OWNER/APP/SERVICE/N.LIFE"}
	}
	if _, err := ParseReplica(replica); err != nil {
		return "", err
	}
	return ID(s), nil
}

// Replica is the replica whose life this placement is.
func (id ID) Replica() Replica {
	replica, _, _ := strings.Cut(string(id), ".")
	return Replica(replica)
}

// Owner is the user whose daemon runs the placement.
func (id ID) Owner() string { return id.Replica().Owner() }

// Life is the number of this life of the replica.
func (id ID) Life() Life {
	_, k, _ := strings.Cut(string(id), ".")
	return Life(k)
}

// ContainerName is the one name that a container of this placement can bear,
// so that a daemon can never hold two of them.
func (id ID) ContainerName() string {
	return "longshore." + strings.ReplaceAll(string(id), "/", ".")
}
