// Command app is the program of the tests' image: "serve" answers on TCP port
// 8080 with $SAY, "exit N" ends with code N, "deaf" ignores SIGTERM, "eat N"
// keeps N MiB of memory. For exec: "cat" copies its input to its output,
// "spew N" writes N bytes, a line of 64 at a time, to each of stdout and
// stderr, "fork" runs another "serve" and waits for it, "env" prints $SAY and
// the directory.
package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	args := append(os.Args[1:], "serve", "0")
	n, _ := strconv.Atoi(args[1])
	switch args[0] {
	case "exit":
		os.Exit(n)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			os.Exit(5)
		}
	case "spew":
		for ; n > 0; n -= 64 {
			line := append(bytes.Repeat([]byte("x"), 63), '\n')[:min(n, 64)]
			os.Stdout.Write(line)
			os.Stderr.Write(line)
		}
	case "fork":
		if err := exec.Command("/proc/self/exe", "wait").Run(); err != nil {
			os.Exit(6)
		}
	case "env":
		dir, _ := os.Getwd()
		io.WriteString(os.Stdout, os.Getenv("SAY")+" "+dir)
	case "wait":
		wait()
	case "eat":
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = 1
		}
		wait()
		os.Exit(int(b[0]))
	default:
		go serve()
		wait()
	}
}

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

func serve() {
	l, err := net.Listen("tcp4", ":8080")
	if err != nil {
		os.Exit(3)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(4)
		}
		io.WriteString(c, os.Getenv("SAY"))
		c.Close()
	}
}
