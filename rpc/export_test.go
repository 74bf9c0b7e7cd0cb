package rpc

// Scan checks one whole event as the link does, for the fuzzer: the header
// must be usable, the arguments may be refused apart.
func Scan(b []byte) (argsErr, err error) {
	e, err := parseEvent(b)
	return e.argsErr, err
}

// ScanValue walks one value that must be all of b.
func ScanValue(b []byte, outgoing bool) error {
	s := scanner{outgoing: outgoing}
	end, err := s.value(b, 0)
	if err == nil && end != len(b) {
		return errBytes
	}
	return err
}

// Unmarshal decodes one scanned value.
func Unmarshal(b []byte, into any) error { return unmarshal(b, into) }
