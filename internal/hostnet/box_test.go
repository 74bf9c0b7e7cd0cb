package hostnet_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// The tests run in a network namespace of their own, which is the "host". A box
// is a process in yet another one: a container, or a machine outside.

const roleVar = "HOSTNET_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "":
		os.Exit(inNamespace())
	case "box":
		boxMain(os.Stdin, os.Stdout)
	case "host":
		if err := hostUp(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the namespace:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
}

// inNamespace runs this test again, in a fresh network namespace.
func inNamespace() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVar+"=host")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // whose end would be the child's
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "make a network namespace (root is needed):", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func hostUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// box is such a process, as the test sees it.
type box struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	plugs []string
}

// newBox starts a box that is plugged in nowhere.
func newBox(t *testing.T, name string) *box {
	t.Helper()
	b := &box{t: t, name: name, cmd: exec.Command(os.Args[0])}
	// The race detector would sleep for a second at the end of every box.
	b.cmd.Env = append(os.Environ(), roleVar+"=box", "GORACE=atexit_sleep_ms=0")
	b.cmd.Stderr = os.Stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := b.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.in, b.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		for _, p := range b.plugs {
			if link, err := netlink.LinkByName(p); err == nil {
				_ = netlink.LinkDel(link) // may have gone with the box
			}
		}
		in.Close()
		_ = b.cmd.Wait()
	})
	return b
}

// plug connects the box to a bridge of the host ("" for none) by a veth pair;
// address is with its prefix length, gateway may be "".
func (b *box) plug(veth, bridge, address, gateway string) *box {
	b.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = veth
	if bridge != "" {
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			b.t.Fatal(err)
		}
		attrs.MasterIndex = master.Attrs().Index
	}
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "x" + veth}
	if err := netlink.LinkAdd(pair); err != nil {
		b.t.Fatal(err)
	}
	b.plugs = append(b.plugs, veth)
	peer, err := netlink.LinkByName("x" + veth)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkSetUp(pair), netlink.LinkSetNsPid(peer, b.cmd.Process.Pid)); err != nil {
		b.t.Fatal(err)
	}
	b.must("up", "x"+veth, address, gateway)
	return b
}

// serve lets the box answer at a TCP port with its name and the caller's address.
func (b *box) serve(port int) *box {
	b.t.Helper()
	b.must("serve", fmt.Sprint(port), b.name)
	return b
}

// dial calls an address and returns what is answered there.
func (b *box) dial(address string) (string, error) {
	b.t.Helper()
	return b.ask("dial", address)
}

func (b *box) must(words ...string) {
	b.t.Helper()
	if _, err := b.ask(words...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) ask(words ...string) (string, error) {
	b.t.Helper()
	if _, err := fmt.Fprintln(b.in, strings.Join(words, "\t")); err != nil {
		b.t.Fatal(err)
	}
	line, err := b.out.ReadString('\n')
	if err != nil {
		b.t.Fatalf("box %s: %v", b.name, err)
	}
	line = strings.TrimSpace(line)
	if text, failed := strings.CutPrefix(line, "error "); failed {
		return "", fmt.Errorf("box %s: %s: %s", b.name, words[0], text)
	}
	return strings.TrimPrefix(line, "ok "), nil
}

// boxMain is the other end: one command a line.
func boxMain(in io.Reader, out io.Writer) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		answer, err := boxDo(strings.Split(lines.Text(), "\t"))
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		} else {
			answer = "ok " + answer
		}
		fmt.Fprintln(out, answer)
	}
}

func boxDo(words []string) (string, error) {
	switch words[0] {
	case "up":
		return "", boxUp(words[1], words[2], words[3])
	case "serve":
		listener, err := net.Listen("tcp4", ":"+words[1])
		if err != nil {
			return "", err
		}
		go boxServe(listener, words[2])
		return "", nil
	case "dial":
		return call(words[1])
	}
	return "", fmt.Errorf("unknown command %q", words)
}

func boxUp(name, address, gateway string) error {
	if err := hostUp(); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(link, a), netlink.LinkSetUp(link)); err != nil || gateway == "" {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)})
}

func boxServe(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		fmt.Fprintf(conn, "%s to %s\n", name, host)
		conn.Close()
	}
}

// call dials from here and returns the line that is answered.
func call(address string) (string, error) {
	conn, err := net.DialTimeout("tcp4", address, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
