package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Renewer keeps the certificate of a store alive.
type Renewer struct {
	Store *Store
	// Ask has the certificate renewed by whoever has the authority's key, and
	// returns it as PEM.
	Ask    func(ctx context.Context) ([]byte, error)
	Logger *slog.Logger

	alarm atomic.Pointer[string]
}

// Due tells whether a certificate should be renewed, and whether somebody
// should be told, because that has not happened for long: at two thirds and
// five sixths of its life.
func Due(cert *x509.Certificate, now time.Time) (renew, alarm bool) {
	life, left := cert.NotAfter.Sub(cert.NotBefore)-backdate, cert.NotAfter.Sub(now)
	return left < life/3, left < life/6
}

// period is how often to look at a certificate of such a life.
func period(cert *x509.Certificate) time.Duration {
	return min(max((cert.NotAfter.Sub(cert.NotBefore)-backdate)/60, time.Second), time.Hour)
}

// Run looks after the certificate until ctx ends, and then returns nil. It
// tries again for as long as it takes.
func (r *Renewer) Run(ctx context.Context) error {
	for {
		cert := r.Store.Leaf()
		if renew, late := Due(cert, time.Now()); renew {
			r.try(ctx, cert, late)
		} else {
			r.alarm.Store(nil)
		}
		pause := period(cert)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// Alarm tells what an operator should know: that the certificate is about to
// end, or has ended, and could not be renewed. "" is none.
func (r *Renewer) Alarm() string {
	if text := r.alarm.Load(); text != nil {
		return *text
	}
	return ""
}

func (r *Renewer) try(ctx context.Context, cert *x509.Certificate, late bool) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	renewed, err := r.Ask(ctx)
	if err == nil {
		err = ReplaceCertificate(r.Store.Dir(), renewed)
	}
	who, end := r.Store.Identity(), cert.NotAfter.Local().Format(time.DateTime)
	if err == nil {
		r.alarm.Store(nil)
		r.Logger.Info("certificate renewed", "identity", who.String(), "dir", r.Store.Dir())
		return
	}
	r.Logger.Warn("certificate not renewed, containers are not affected", "identity", who.String(), "ends", end, "err", err, "next", "schedctl ca renew "+r.Store.Dir())
	if late {
		text := fmt.Sprintf("the certificate of %s ends on %s and is not renewed: schedctl ca renew %s", who, end, r.Store.Dir())
		r.alarm.Store(&text)
	}
}
