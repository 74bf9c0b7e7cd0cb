package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"longshore/internal/placement"
)

const scheme = "longshore"

// Identity is who a certificate says somebody is.
type Identity struct {
	Cluster string // the cluster's ID
	Role    string // one of the placement.Role...
	Name    string // of a node, a broadcaster or a person
}

// Parse reads "ROLE/NAME", such as agent/n7 or user/alice, of a cluster.
func Parse(cluster, s string) (Identity, error) {
	role, name, _ := strings.Cut(s, "/")
	id := Identity{Cluster: cluster, Role: role, Name: name}
	return id, id.check()
}

func (id Identity) check() error {
	known := []string{placement.RoleAgent, placement.RoleHostinfo, placement.RoleBroadcaster, placement.RoleOperator, placement.RoleUser}
	if !slices.Contains(known, id.Role) {
		return &placement.Error{
			Kind: placement.KindInvalid,
			What: fmt.Sprintf("%.80q is no identity", id.Role+"/"+id.Name),
			Why:  "an identity is ROLE/NAME, and the roles are " + strings.Join(known, ", "),
			Next: "agent/n7 and hostinfo/n7 are those of node n7, user/alice is a person",
		}
	}
	if err := placement.CheckName("cluster", id.Cluster); err != nil {
		return err
	}
	return placement.CheckName(id.Role, id.Name)
}

// String is "ROLE/NAME".
func (id Identity) String() string { return id.Role + "/" + id.Name }

// daemon tells whether others may dial it, and not only it others.
func (id Identity) daemon() bool {
	return id.Role != placement.RoleUser && id.Role != placement.RoleOperator
}

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: id.Cluster, Path: "/" + id.Role + "/" + id.Name}
}

// serverName is the DNS name that every daemon of the role bears.
func (id Identity) serverName() string { return id.Role + "." + id.Cluster + "." + scheme }

// Of is whom the certificate names.
func Of(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		id, err := Parse(u.Host, strings.TrimPrefix(u.Path, "/"))
		if err != nil {
			return Identity{}, fmt.Errorf("certificate for %.100s: %w", u, err)
		}
		return id, nil
	}
	return Identity{}, fmt.Errorf("the certificate of %.100q names no cluster, role and name", cert.Subject.CommonName)
}
