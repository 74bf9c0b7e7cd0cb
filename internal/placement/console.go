package placement

// What a node tells of itself to people and scripts on it.

// NodeCapacity is how full a node is, and whose doing that is.
type NodeCapacity struct {
	Room   Room         `json:"room"`
	Free   Resources    `json:"free"`
	Owners []OwnerShare `json:"owners"` // by name
	// Strangers are containers that Longshore did not make, and that run; each
	// counts as a request without figures.
	Strangers int `json:"strangers"`
}

// OwnerShare is what one owner's copies reserve on a node.
type OwnerShare struct {
	Owner    string    `json:"owner"`
	Promised Resources `json:"promised"`
	Copies   int       `json:"copies"`
}

// Passed is an offer that a node passed on.
type Passed struct {
	ID     ID     `json:"id"`
	Epoch  Epoch  `json:"epoch"`
	Reason Reason `json:"reason"`
	Ago    Millis `json:"ago"`
}

// Published is a port of a copy on its node's address.
type Published struct {
	ID   ID   `json:"id"`
	Port Port `json:"port"`
	Late bool `json:"late"` // added to the running copy, and gone with it
}
