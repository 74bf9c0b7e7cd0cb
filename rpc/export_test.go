package rpc

import "time"

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
func Unmarshal(b []byte, into any) error { return new(decoders).unmarshal(b, into) }

// TurnWheel turns a wheel of one pulse, begun at 0, at the times given; the
// peer is heard at the others. It returns when it was lost, or 0.
func TurnWheel(period time.Duration, turns, heard []time.Duration) time.Duration {
	var w wheel
	var p pulse
	start := time.Now()
	w.add(&p, start.Add(period))
	for _, at := range turns {
		for len(heard) > 0 && heard[0] < at {
			p.seen = start.Add(heard[0])
			heard = heard[1:]
		}
		if _, lost, _ := w.turn(start.Add(at), period); len(lost) > 0 {
			return at
		}
	}
	return 0
}
