package retryq

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"longshore/internal/placement"
)

// encode is v as the store keeps it: msgpack with the names of the json tags.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.SetCustomStructTag("json")
	enc.UseCompactInts(true)
	enc.SetSortMapKeys(true) // order never comes from a map: equal records are equal bytes
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return b.Bytes(), nil
}

// decode is the inverse of encode. A record of a later format is refused.
func decode[T any](item Item, version func(T) int) (T, error) {
	var v T
	dec := msgpack.NewDecoder(bytes.NewReader(item.Value))
	dec.SetCustomStructTag("json")
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("read the ledger's record %s: %w", item.Key, err)
	}
	if version(v) > placement.Format {
		return v, &placement.Error{
			Kind: placement.KindRefused,
			What: "the ledger was written by a later version of Longshore",
			Why:  fmt.Sprintf("record %s has format %d, this version knows %d", item.Key, version(v), placement.Format),
			Next: "install that version again, or a later one",
		}
	}
	return v, nil
}
