package claim

import "longshore/internal/placement"

// keyPrefix carries the version of the record under it.
const keyPrefix = "longshore:1:claim:"

// key names the claim of a placement. The braces are a hash tag of Redis
// Cluster: all that belongs to one placement lives in one slot. The cluster's
// ID keeps clusters that share one Redis apart.
func key(cluster string, id placement.ID) string {
	return keyPrefix + "{" + cluster + "/" + string(id) + "}"
}
