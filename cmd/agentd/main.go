// Command agentd is the Longshore agent of one node: it admits placements and
// deploys them into its users' daemons. Containers outlive it.
package main

import (
	"context"
	"os"

	"longshore/cmd/internal/wiring"
)

func main() {
	os.Exit(wiring.Main(context.Background(), "agentd", "the Longshore agent of this node", os.Args[1:], os.Stderr, wiring.DefineNode((*wiring.NodeConfig).RunAgent)))
}
