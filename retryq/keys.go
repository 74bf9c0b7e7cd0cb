package retryq

import (
	"net/url"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// The keys of the store, all of them. Lives only grow, so placements and
// tombstones are appended.
const (
	metaKey          = "m/ledger" // rule.Meta
	placementsPrefix = "p/"       // LIFE/REPLICA: rule.Record
	tombsPrefix      = "t/"       // LIFE/REPLICA: rule.Tomb
	replicasPrefix   = "r/"       // REPLICA: rule.Replica
	appsPrefix       = "a/"       // OWNER/APP: rule.App
	nodesPrefix      = "n/"       // NODE: rule.Node
	slotsPrefix      = "h/"       // OWNER/TOKEN/DOMAIN: rule.Slot
	logPrefix        = "e/"       // START/N: logged
)

func placementKey(id placement.ID) string {
	return placementsPrefix + string(id.Life()) + "/" + string(id.Replica())
}

func tombKey(id placement.ID) string {
	return tombsPrefix + string(id.Life()) + "/" + string(id.Replica())
}

func replicaKey(r placement.Replica) string { return replicasPrefix + string(r) }

func appKey(owner, app string) string { return appsPrefix + owner + "/" + app }

func nodeKey(n placement.NodeID) string { return nodesPrefix + string(n) }

// slotKey is the HA slot that a placement of this request takes on the node;
// "" if its request has no token.
func slotKey(r rule.Record, node placement.NodeRecord) string {
	if r.Request.HAToken == "" {
		return ""
	}
	domain := node.Domain(r.Request.HADomain)
	return slotsPrefix + r.ID.Owner() + "/" + url.PathEscape(r.Request.HAToken) + "/" + url.PathEscape(domain)
}
