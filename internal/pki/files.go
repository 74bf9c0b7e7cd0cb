package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"longshore/internal/placement"
)

// IssueTo makes a key and a certificate in dir, with the authority beside it.
// It replaces nothing that is there.
func (a *Authority) IssueTo(dir string, id Identity, hosts []string, life time.Duration) error {
	if _, err := os.Lstat(filepath.Join(dir, KeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return &placement.Error{
			Kind: placement.KindConflict,
			What: "there is a key already: " + filepath.Join(dir, KeyFile),
			Why:  "it may be in use",
			Next: "schedctl ca renew " + dir + " renews its certificate; or choose another directory",
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := a.Issue(id, key.Public(), hosts, life)
	if err != nil {
		return err
	}
	secret, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of certificates: %w", err)
	}
	return errors.Join(
		replace(filepath.Join(dir, KeyFile), secret, 0o600),
		replace(filepath.Join(dir, CertFile), cert, 0o644),
		replace(filepath.Join(dir, AuthorityFile), a.PEM(), 0o644),
	)
}

// Certificate reads the own certificate in dir.
func Certificate(dir string) (*x509.Certificate, error) {
	certs, err := readCerts(filepath.Join(dir, CertFile))
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// ReplaceCertificate puts a renewed certificate into dir. It must be for the
// same identity and key, of an authority that is trusted there, and end no earlier.
func ReplaceCertificate(dir string, renewed []byte) error {
	old, err := Certificate(dir)
	if err != nil {
		return err
	}
	certs, err := decodeCerts(renewed)
	if err != nil {
		return fmt.Errorf("the renewed certificate: %w", err)
	}
	cert := certs[0]
	was, err := Of(old)
	if err != nil {
		return err
	}
	is, err := Of(cert)
	if err != nil {
		return err
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if is != was || !ok || !public.Equal(old.PublicKey) {
		return fmt.Errorf("the renewed certificate is of another: %s, not %s, or for another key", is, was)
	}
	trusted, err := readCerts(filepath.Join(dir, AuthorityFile))
	if err != nil {
		return err
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(trusted), KeyUsages: cert.ExtKeyUsage}); err != nil {
		return fmt.Errorf("the renewed certificate: %w", err)
	}
	if cert.NotAfter.Before(old.NotAfter) {
		return fmt.Errorf("the renewed certificate ends on %s, before the present one", cert.NotAfter.Format(time.DateTime))
	}
	return replace(filepath.Join(dir, CertFile), renewed, 0o644)
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// replace writes a file whole or not at all.
func replace(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data) // it is 0600 until all is in it
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := decodeCerts(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

func decodeCerts(data []byte) (certs []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return certs, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decodeKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("there is no key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not ECDSA")
	}
	return signer, nil
}
