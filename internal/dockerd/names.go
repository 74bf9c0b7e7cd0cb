package dockerd

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"longshore/internal/placement"
)

// ShortID names something derived from parts: 12 of [a-z2-7]. Equal parts give
// equal ids.
func ShortID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:12]
}

// CgroupParent is the --cgroup-parent of an owner's daemon, node and owner
// being short ids: a path for Docker's cgroupfs driver, a slice for its systemd
// driver.
func CgroupParent(systemd bool, node, owner string) string {
	if systemd {
		return "sched-" + node + "-" + owner + ".slice"
	}
	return "/sched/" + node + "/" + owner
}

// CgroupPath is where [CgroupParent] lies below the mount of a controller (v1)
// or of the unified tree (v2). With owner "" it is the directory of all the
// node's owners.
func CgroupPath(systemd bool, node, owner string) string {
	if !systemd {
		return path.Join("sched", node, owner)
	}
	p := "sched.slice/sched-" + node + ".slice"
	if owner != "" {
		p += "/" + CgroupParent(true, node, owner)
	}
	return p
}

// Labels of containers.
const (
	labelV       = "longshore.v"
	labelCluster = "longshore.cluster"
	labelNode    = "longshore.node"
	labelID      = "longshore.id"
	labelEpoch   = "longshore.epoch"
	labelGen     = "longshore.gen"
	labelDigest  = "longshore.digest"
	labelCPU     = "longshore.cpu"
	labelMemory  = "longshore.memory"
	labelDisk    = "longshore.disk"

	labelNet     = "longshore.net"      // on net containers: netShared or netReplica
	labelNetOf   = "longshore.net.of"   // the placement that a netReplica serves
	labelAddress = "longshore.net.addr" // its fixed address
)

const (
	netShared    = "shared"
	netReplica   = "replica"
	netContainer = "longshore-net" // the shared net container
	netName      = "longshore"     // the owner's network
)

// netNameOf is the name of a placement's own net container. No placement's
// container can bear it: lives are hex.
func netNameOf(id placement.ID) string { return id.ContainerName() + ".net" }

// copyFrom reads a container's labels; ok is false if it is no copy of this
// cluster on this node.
func (c Config) copyFrom(labels map[string]string) (copy placement.Copy, ok bool) {
	if labels[labelCluster] != c.Cluster || labels[labelNode] != string(c.Node) || labels[labelID] == "" {
		return placement.Copy{}, false
	}
	if v, err := strconv.Atoi(labels[labelV]); err != nil || v > placement.Format {
		return placement.Copy{}, false
	}
	number := func(label string) int64 { n, _ := strconv.ParseInt(labels[label], 10, 64); return n }
	gen, _ := strconv.ParseUint(labels[labelGen], 10, 64)
	return placement.Copy{
		ID:     placement.ID(labels[labelID]),
		Epoch:  placement.Epoch(labels[labelEpoch]),
		Gen:    gen,
		Digest: labels[labelDigest],
		Needs:  placement.Resources{CPU: number(labelCPU), Memory: number(labelMemory), Disk: number(labelDisk)},
	}, true
}

// labels is the inverse of copyFrom.
func (c Config) labels(s Spec) map[string]string {
	needs := s.needs()
	return map[string]string{
		labelV:       strconv.Itoa(placement.Format),
		labelCluster: s.Cluster,
		labelNode:    string(c.Node),
		labelID:      string(s.ID),
		labelEpoch:   string(s.Epoch),
		labelGen:     strconv.FormatUint(s.Gen, 10),
		labelDigest:  s.Request.Digest(),
		labelCPU:     strconv.FormatInt(needs.CPU, 10),
		labelMemory:  strconv.FormatInt(needs.Memory, 10),
		labelDisk:    strconv.FormatInt(needs.Disk, 10),
	}
}

// Backoff is how long to wait before a daemon's next bring-up after n failed
// ones: full jitter below 0.2 s doubling to 10 s. r is in [0, 1).
func Backoff(n int, r float64) time.Duration {
	ceiling := 10 * time.Second
	if n < 6 {
		ceiling = min(ceiling, 200*time.Millisecond<<n)
	}
	return time.Duration(r * float64(ceiling))
}
