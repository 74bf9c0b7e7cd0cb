package hostinfo

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"
)

// Prober finds out whether a host lives whose processes are not heard.
type Prober interface {
	// Answers tells whether the host at address (a name or an IP) answers. It
	// returns within two seconds.
	Answers(ctx context.Context, address string) bool
}

// TCPProber opens a TCP connection: a host that accepts or refuses lives, one
// that is unreachable or says nothing does not.
type TCPProber struct {
	Port    int           // any that firewalls let through; 0: 22
	Timeout time.Duration // 0: 1.5 s
}

// Answers connects once.
func (p TCPProber) Answers(ctx context.Context, address string) bool {
	port, timeout := p.Port, p.Timeout
	if port == 0 {
		port = 22
	}
	if timeout == 0 {
		timeout = 1500 * time.Millisecond
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err == nil {
		_ = conn.Close() // it told what we asked
		return true
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}
