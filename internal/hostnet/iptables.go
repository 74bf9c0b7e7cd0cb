package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// execTimeout bounds one run, which may wait for the lock of xtables.
const execTimeout = 20 * time.Second

// save reads the rules of the host.
func save(ctx context.Context) (ruleset, error) {
	out, err := run(ctx, "", "iptables-save")
	if err != nil {
		return nil, fmt.Errorf("read the host's rules: %w", err)
	}
	return parseRuleset(out), nil
}

// restore changes the rules of the host; each table whole, or not at all.
// Without input it does nothing.
func restore(ctx context.Context, input string) error {
	if input == "" {
		return nil
	}
	if _, err := run(ctx, input, "iptables-restore", "-w", "--noflush"); err != nil {
		return fmt.Errorf("change the host's rules: %w", err)
	}
	return nil
}

func run(ctx context.Context, input, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, find(name), args...)
	cmd.Stdin = strings.NewReader(input)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	switch text := strings.TrimSpace(problem.String()); {
	case err != nil && ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", name, ctx.Err())
	case err != nil && text != "":
		return "", fmt.Errorf("%s: %w: %s", name, err, text)
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out.String(), nil
}

// find is where a program lies; a user's PATH may lack the directories of root's.
func find(name string) string {
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name // the error of starting it says enough
}
