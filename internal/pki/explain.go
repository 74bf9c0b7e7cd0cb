package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"longshore/internal/placement"
)

// alert is what a TLS peer says about our certificate, and what to do. The
// texts are those of crypto/tls, which has no names for them.
func alert(text string) (what, next string) {
	switch text {
	case "tls: bad certificate":
		return "the other end refuses our certificate: it may be revoked", "issue another: schedctl ca issue"
	case "tls: expired certificate":
		return "the other end says that our certificate has ended", "schedctl ca renew DIR; are the clocks right?"
	case "tls: unknown certificate authority":
		return "the other end does not know the authority of our certificate", "issue one by its own cluster's authority: schedctl ca issue"
	case "tls: certificate required":
		return "the other end wants a certificate", "schedctl ca issue makes one; give --tls-dir"
	}
	return "", ""
}

// Explain turns the error of a handshake into what a person can act upon. Nil
// if there is nothing of certificates in it.
func Explain(err error) *placement.Error {
	if told, ok := errors.AsType[*placement.Error](err); ok {
		return told
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		if what, next := alert(remote.Err.Error()); what != "" {
			return &placement.Error{Kind: placement.KindRefused, What: what, Why: err.Error(), Next: next}
		}
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return &placement.Error{
			Kind: placement.KindRefused,
			What: fmt.Sprintf("the certificate of %s has ended on %s", bad.Cert.Subject.CommonName, bad.Cert.NotAfter.Local().Format(time.DateTime)),
			Why:  "containers run on; new links to it cannot be made", Next: "renew it there: schedctl ca renew DIR",
		}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &placement.Error{
			Kind: placement.KindRefused, What: "the other end's certificate is of another authority", Why: err.Error(),
			Next: "is this the right address? if so, ca.pem is another cluster's: schedctl ca issue makes all three files anew",
		}
	}
	if bad, ok := errors.AsType[x509.HostnameError](err); ok {
		return &placement.Error{
			Kind: placement.KindRefused, What: fmt.Sprintf("what answers is %s, no broadcaster of this cluster", bad.Certificate.Subject.CommonName), Why: err.Error(),
			Next: "is this the right address?",
		}
	}
	return nil
}
