package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"longshore/internal/placement"
)

// recheck is how often the files are looked at, at most.
const recheck = time.Second

// Store is a process's own certificate and whom it trusts, as a directory has
// them now. It is safe for concurrent use.
type Store struct {
	dir string
	id  Identity

	refuse func(*x509.Certificate) error // nil: none

	mu      sync.Mutex
	looked  time.Time
	files   []fs.FileInfo // as they were then
	present *own
}

// own is what the files held when they were read last.
type own struct {
	leaf *x509.Certificate
	conf *tls.Config
}

// Open reads the directory. Whose certificate it is stays for ever: another
// one put there later is not taken.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	got, files, err := s.read()
	if err != nil {
		return nil, &placement.Error{
			Kind: placement.KindInvalid,
			What: "no certificate can be had from " + dir,
			Why:  err.Error(),
			Next: fmt.Sprintf("schedctl ca issue ROLE/NAME --out %s, where the authority is, makes %s, %s and %s", dir, AuthorityFile, CertFile, KeyFile),
		}
	}
	s.present, s.files, s.looked = got, files, time.Now()
	return s, nil
}

// Refuse has peers whose certificate check finds fault with not let in. Call it
// before the store is used.
func (s *Store) Refuse(check func(*x509.Certificate) error) { s.refuse = check }

// Dir is where the files are.
func (s *Store) Dir() string { return s.dir }

// Identity is who the certificate says we are.
func (s *Store) Identity() Identity { return s.id }

// Leaf is the own certificate as of now.
func (s *Store) Leaf() *x509.Certificate { return s.now().leaf }

// Config is for a handshake that begins now, at either end: TLS 1.3 alone, and
// nobody without a certificate of the cluster. Whoever dials wants to see a
// broadcaster's.
func (s *Store) Config() (*tls.Config, error) { return s.now().conf, nil }

// Subject is role and name of a peer's certificate, which the handshake has
// verified.
func (s *Store) Subject(cert *x509.Certificate) (role, name string, err error) {
	id, err := Of(cert)
	if err != nil {
		return "", "", err
	}
	if id.Cluster != s.id.Cluster {
		return "", "", fmt.Errorf("%s is of cluster %s, and this is %s", id, id.Cluster, s.id.Cluster)
	}
	return id.Role, id.Name, s.refused(cert)
}

func (s *Store) refused(cert *x509.Certificate) error {
	if s.refuse == nil {
		return nil
	}
	return s.refuse(cert)
}

// now is what the files hold; files that cannot be used (half of a renewal, a
// slip of an operator) leave what was there before.
func (s *Store) now() *own {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < recheck {
		return s.present
	}
	s.looked = time.Now()
	if files, err := s.stat(); err != nil || slices.EqualFunc(files, s.files, same) {
		return s.present
	}
	if got, files, err := s.read(); err == nil {
		s.present, s.files = got, files
	}
	return s.present
}

func (s *Store) stat() (files []fs.FileInfo, err error) {
	for _, name := range []string{AuthorityFile, CertFile, KeyFile} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, info)
	}
	return files, nil
}

// same tells whether a file is what it was before.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read reads and checks the files; the first time it learns who we are.
func (s *Store) read() (*own, []fs.FileInfo, error) {
	files, err := s.stat() // before the files: what changes meanwhile is read again
	if err != nil {
		return nil, files, err
	}
	trusted, err := readCerts(filepath.Join(s.dir, AuthorityFile))
	if err != nil {
		return nil, files, err
	}
	certs, err := readCerts(filepath.Join(s.dir, CertFile))
	if err != nil {
		return nil, files, err
	}
	secret, err := os.ReadFile(filepath.Join(s.dir, KeyFile))
	if err != nil {
		return nil, files, err
	}
	key, err := decodeKey(secret)
	if err != nil {
		return nil, files, fmt.Errorf("%s: %w", filepath.Join(s.dir, KeyFile), err)
	}
	leaf := certs[0]
	id, err := Of(leaf)
	if err != nil {
		return nil, files, err
	}
	if s.id == (Identity{}) {
		s.id = id
	}
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); id != s.id || !ok || !public.Equal(key.Public()) {
		return nil, files, fmt.Errorf("%s and %s do not belong together, or are not those of %s", CertFile, KeyFile, s.id)
	}
	return &own{leaf: leaf, conf: s.config(leaf, key, pool(trusted))}, files, nil
}

func (s *Store) config(leaf *x509.Certificate, key crypto.Signer, trusted *x509.CertPool) *tls.Config {
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      trusted,
		ServerName:   Identity{Cluster: s.id.Cluster, Role: placement.RoleBroadcaster}.serverName(),
		ClientCAs:    trusted,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error { // the authority has signed it
			return s.refused(c.PeerCertificates[0])
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if err := Ended(leaf, s.dir); err != nil {
				return nil, err
			}
			return &cert, nil
		},
	}
}

// Ended is the error of a certificate of ours in dir that has ended, or nil.
func Ended(leaf *x509.Certificate, dir string) error {
	if time.Now().Before(leaf.NotAfter) {
		return nil
	}
	return &placement.Error{
		Kind: placement.KindRefused,
		What: fmt.Sprintf("the certificate of %s has ended on %s", leaf.Subject.CommonName, leaf.NotAfter.Local().Format(time.DateTime)),
		Why:  "nobody lets it in any more; containers run on",
		Next: "schedctl ca renew " + dir + ", on a machine with the authority's key, renews it; no restart is needed",
	}
}
