// Package appfile turns an app.yaml, a Compose file with one extension, into a
// [placement.App]. It owns all YAML of the project and is the only package
// that knows compose-go.
//
//	file -> tree (positions)  -> lint: names, forms, variables -+-> errors with file:line:col
//	     \-> compose-go -----> project -> convert: values ------+-> placement.App
//
// Invariants:
//   - A field is honoured or refused by name, never dropped in silence. What
//     Compose itself defines as without effect (version, x-anything) is a
//     [Warning].
//   - Every error is a *[placement.Error] that begins with file:line:column.
//   - Nothing but the file itself is read: no .env, no include, no env_file.
//   - The result depends on the file and the [Options] alone; services are
//     sorted by name, environments by variable.
//
// The extension x-sched holds what Compose has no word for. It stands in a
// service, and at the top of the file as the default of all services:
//
//	owner       whose daemons run the app; one for the whole file
//	ha_token    replicas with the same token never share a domain; "none" takes back a default
//	ha_domain   node (default), rack or zone
//	net         shared (default) or replica
//	node        run on this node only
//	disk        reserved disk, such as 20G
//	lost_after  silence after which a replica counts as lost, 5s to 1h
//	deadline    a replica that does not run after so long has failed
package appfile
