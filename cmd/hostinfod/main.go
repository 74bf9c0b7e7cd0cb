// Command hostinfod reports what runs on one node of a Longshore cluster, and how
// full the node is.
package main

import (
	"context"
	"os"

	"longshore/cmd/internal/wiring"
)

func main() {
	os.Exit(wiring.Main(context.Background(), "hostinfod", "reports what runs on this node", os.Args[1:], os.Stderr, wiring.DefineNode((*wiring.NodeConfig).RunHostinfo)))
}
