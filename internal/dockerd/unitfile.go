package dockerd

import _ "embed" // for the unit

// UnitFile is the text of longshore-dockerd@.service, the template unit that
// [Systemd] starts.
//
//go:embed longshore-dockerd@.service
var UnitFile string
