package agent

import (
	"math"
	"strconv"
)

// bytesUp is n in the unit that a person would use, rounded up to a tenth: for
// what is needed.
func bytesUp(n int64) string { return bytesText(n, math.Ceil) }

// bytesDown is the same rounded down: for what there is, so that a need never
// reads like what there is. Less than nothing reads as nothing.
func bytesDown(n int64) string { return bytesText(max(n, 0), math.Floor) }

func bytesText(n int64, round func(float64) float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return strconv.FormatFloat(round(v*10)/10, 'f', -1, 64) + " " + units[unit]
}

// coresText is thousandths of a core as cores.
func coresText(milli int64) string {
	text := strconv.FormatFloat(float64(max(milli, 0))/1000, 'f', -1, 64)
	if text == "1" {
		return "1 core"
	}
	return text + " cores"
}
