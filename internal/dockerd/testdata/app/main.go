// Command app is the program of the tests' image: "serve" answers on TCP port
// 8080 with $SAY, "exit N" ends with code N, "deaf" ignores SIGTERM, "eat N"
// keeps N MiB of memory.
package main

import (
	"io"
	"net"
	"os"
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
