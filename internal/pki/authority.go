package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"longshore/internal/placement"
)

// Lifetimes, unless others are asked for.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 90 * 24 * time.Hour

	backdate = 5 * time.Minute // clocks of machines differ by less
)

// The files of a directory of certificates, and of an authority's.
const (
	AuthorityFile    = "ca.pem"
	AuthorityKeyFile = "ca-key.pem"
	CertFile         = "cert.pem"
	KeyFile          = "key.pem"
)

// Authority is the cluster's own certificate authority, with its key.
type Authority struct {
	Cluster string
	dir     string
	cert    *x509.Certificate
	key     crypto.Signer
}

// CreateAuthority makes an authority for a cluster and writes it to dir. It
// never replaces one.
func CreateAuthority(dir, cluster string) (*Authority, error) {
	if err := placement.CheckName("cluster", cluster); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the authority's directory: %w", err)
	}
	for _, name := range []string{AuthorityFile, AuthorityKeyFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, &placement.Error{
				Kind: placement.KindConflict,
				What: "there is an authority already: " + filepath.Join(dir, name),
				Why:  "another one would make every certificate of the first worthless",
				Next: "use it, or choose another directory",
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl, err := template(pkix.Name{CommonName: "Longshore cluster " + cluster}, AuthorityLife)
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	tmpl.URIs = append(tmpl.URIs, Identity{Cluster: cluster, Role: "ca", Name: "1"}.uri())
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	secret, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(dir, AuthorityKeyFile), secret, 0o600); err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(dir, AuthorityFile), encodeCert(der), 0o644); err != nil {
		return nil, err
	}
	return &Authority{Cluster: cluster, dir: dir, cert: cert, key: key}, nil
}

// OpenAuthority reads the authority in dir. Without one there the error is
// fs.ErrNotExist.
func OpenAuthority(dir string) (*Authority, error) {
	secret, err := os.ReadFile(filepath.Join(dir, AuthorityKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	certs, err := readCerts(filepath.Join(dir, AuthorityFile))
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	key, err := decodeKey(secret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, AuthorityKeyFile), err)
	}
	for _, cert := range certs {
		if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
			continue
		}
		if !cert.IsCA || len(cert.URIs) == 0 || cert.URIs[0].Scheme != scheme {
			break
		}
		return &Authority{Cluster: cert.URIs[0].Host, dir: dir, cert: cert, key: key}, nil
	}
	return nil, fmt.Errorf("%s: none of its %d certificates is the authority that the key beside it belongs to", filepath.Join(dir, AuthorityFile), len(certs))
}

// PEM is the authority's certificate, for ca.pem.
func (a *Authority) PEM() []byte { return encodeCert(a.cert.Raw) }

// Issue signs a certificate for the holder of key. hosts are DNS names and IP
// addresses that it shall be good for besides. It never outlives the authority.
func (a *Authority) Issue(id Identity, key crypto.PublicKey, hosts []string, life time.Duration) ([]byte, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	if id.Cluster != a.Cluster {
		return nil, &placement.Error{Kind: placement.KindRefused, What: fmt.Sprintf("%s is of cluster %s, this authority of %s", id, id.Cluster, a.Cluster)}
	}
	if life <= 0 {
		return nil, &placement.Error{Kind: placement.KindInvalid, What: fmt.Sprintf("a certificate cannot live %s", life), Next: "give a time above 0"}
	}
	tmpl, err := template(pkix.Name{Organization: []string{"Longshore cluster " + id.Cluster}, CommonName: id.String()}, life)
	if err != nil {
		return nil, err
	}
	revoked, err := ReadRevoked(a.dir)
	if err != nil {
		return nil, err
	}
	tmpl.NotBefore = revoked.behind(id, tmpl.NotBefore)
	tmpl.URIs = append(tmpl.URIs, id.uri())
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if id.daemon() {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		tmpl.DNSNames = append(tmpl.DNSNames, id.serverName())
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	return a.sign(tmpl, key)
}

// Renew signs the certificate once more: the same identity, hosts, key and
// time to live, from now on. It must be this authority's; that it has ended is
// no obstacle: who may ask is for the caller to know. One that is revoked is not
// renewed.
func (a *Authority) Renew(old *x509.Certificate) ([]byte, error) {
	if err := old.CheckSignatureFrom(a.cert); err != nil {
		return nil, fmt.Errorf("the certificate is not of this authority: %w", err)
	}
	id, err := Of(old)
	if err != nil {
		return nil, err
	}
	revoked, err := ReadRevoked(a.dir)
	if err != nil {
		return nil, err
	}
	if err := revoked.Check(old); err != nil {
		return nil, err
	}
	tmpl, err := template(old.Subject, old.NotAfter.Sub(old.NotBefore)-backdate)
	if err != nil {
		return nil, err
	}
	if id.Cluster != a.Cluster {
		return nil, fmt.Errorf("the certificate is of cluster %s, this authority of %s", id.Cluster, a.Cluster)
	}
	tmpl.URIs, tmpl.DNSNames, tmpl.IPAddresses = old.URIs, old.DNSNames, old.IPAddresses
	tmpl.KeyUsage, tmpl.ExtKeyUsage = old.KeyUsage, old.ExtKeyUsage
	return a.sign(tmpl, old.PublicKey)
}

func (a *Authority) sign(tmpl *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	if tmpl.NotAfter.After(a.cert.NotAfter) {
		tmpl.NotAfter = a.cert.NotAfter
	}
	if !a.cert.NotAfter.After(time.Now()) {
		return nil, fmt.Errorf("the authority itself has ended on %s: schedctl ca init makes another", a.cert.NotAfter.Format(time.DateOnly))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return encodeCert(der), nil
}

// template is what all our certificates have.
func template(subject pkix.Name, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-backdate), NotAfter: now.Add(life)}, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
