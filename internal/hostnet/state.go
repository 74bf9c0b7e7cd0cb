package hostnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"longshore/internal/placement"
)

const (
	userFile    = "hostnet.json"
	clusterFile = "clusternet.json"
)

// userState is the file of one node: which subnet is whose.
type userState struct {
	V     int                   `json:"v"` // [placement.Format]
	Users map[string]userRecord `json:"users"`
}

// userRecord is kept after its owner was removed, so that the same owner gets
// the same subnet again; it goes to another one only when no other is left.
type userRecord struct {
	Subnet  netip.Prefix `json:"subnet"`
	Removed uint64       `json:"removed,omitempty"` // order of removal; 0: in use
}

// clusterState is the file of one cluster on one machine.
type clusterState struct {
	V      int                             `json:"v"` // [placement.Format]
	Subnet netip.Prefix                    `json:"subnet"`
	Nodes  map[placement.NodeID]netip.Addr `json:"nodes"`
}

// readState fills into from a file; a file that is not there leaves it as is.
func readState(path string, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the record of subnets: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &placement.Error{
			Kind: placement.KindRefused,
			What: "the record of subnets cannot be read",
			Why:  fmt.Sprintf("%s: %v", path, err),
			Next: "remove the file: what is in use is read from the bridges",
		}
	}
	return nil
}

// writeState replaces a file by one that is on disk whole.
func writeState(path string, state any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the record of subnets: %w", err)
		}
	}()
	text, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // fails once it is renamed
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
