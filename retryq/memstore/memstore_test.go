package memstore_test

import (
	"testing"

	"longshore/retryq"
	"longshore/retryq/memstore"
	"longshore/retryq/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) retryq.Store {
		t.Helper()
		return memstore.New()
	})
}
