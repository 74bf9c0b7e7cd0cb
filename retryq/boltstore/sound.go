package boltstore

import (
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"longshore/internal/placement"
)

// openSound opens the file if it is whole. bbolt reads a file that was cut off
// until it faults, and takes a page whose keys are gone for an empty one: a
// ledger that forgets is worse than one that does not start.
func openSound(path string) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, damaged(path, fmt.Sprint(r))
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		if _, err := os.Stat(path + ".reserve"); err == nil {
			return nil, damaged(path, "it is empty, and was not")
		}
	}
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true})
	if err != nil {
		return nil, err
	}
	if err := db.View(whole); err != nil {
		_ = db.Close() // what is wrong is known
		return nil, damaged(path, err.Error())
	}
	return db, nil
}

// whole checks that all pages are there, are reachable and hold their keys in
// order.
func whole(tx *bbolt.Tx) error {
	info, err := os.Stat(tx.DB().Path())
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("it has %d bytes, and needs %d", info.Size(), tx.Size())
	}
	var first error
	for err := range tx.Check() { // it has to be read to its end
		if first == nil {
			first = err
		}
	}
	return first
}

func damaged(path, why string) error {
	return &placement.Error{
		Kind: placement.KindRefused,
		What: "the ledger " + path + " is damaged",
		Why:  why,
		Next: "put a backup in its place; or move it away and start with --rebuild and the cluster's ID",
	}
}
