// Package bench measures how fast a cluster of real processes is, as ratios
// against a baseline that is measured in the same run, on the same machine,
// in turns: what else the machine does then weighs on both alike. It judges
// nothing by itself; the figures are printed beside what is aimed at.
package bench
