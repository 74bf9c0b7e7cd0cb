package faults_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"longshore/internal/placement"
	"longshore/rpc"
	"longshore/test/cluster"
)

// follow writes what the ledger says of every placement, and what the daemons
// show, to the directory that the environment's LOGS names, if it does: the
// story of a copy that a run found fault with.
func follow(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	t.Helper()
	dir := os.Getenv("LOGS")
	if dir == "" {
		return
	}
	story, err := os.Create(filepath.Join(dir, "story"))
	if err != nil {
		t.Error(err)
		return
	}
	defer story.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := watch(ctx, c, story); err != nil {
			fmt.Fprintln(story, time.Now().UTC().Format("15:04:05.000"), err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func watch(ctx context.Context, c *cluster.Cluster, story *os.File) error {
	link, err := rpc.Dial(ctx, rpc.ZMQ(rpc.ZMQOptions{}), c.Endpoint, rpc.Config{})
	if err != nil {
		return err
	}
	defer link.Close()
	events, err := link.Stream(ctx, "events", placement.Filter{All: true})
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		var e placement.Event
		if err := events.Next(&e); err != nil {
			return err
		}
		fmt.Fprintf(story, "%s %d %s %s %s on %s wanted=%v tries=%d: %s, %s\n", time.Now().UTC().Format("15:04:05.000"),
			e.Rev, e.ID, e.Epoch, e.State, e.Node, e.Wanted, e.Tries, e.Phase, e.Why)
	}
}
