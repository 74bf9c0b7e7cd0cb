package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"longshore/internal/placement"
)

// printer tells the course of a submit, in plain lines or JSON.
type printer struct {
	*app
	began time.Time
}

func (p *printer) submitted(s placement.Submitted) {
	if p.json {
		p.object(s)
		return
	}
	switch {
	case s.Unchanged:
		fmt.Fprintf(p.stdout, "%s/%s is unchanged (revision %d)\n", s.Owner, s.App, s.Revision)
	default:
		fmt.Fprintf(p.stdout, "%s/%s revision %d:%s\n", s.Owner, s.App, s.Revision, changes(s))
	}
}

// changes is " 2 added, 1 changed".
func changes(s placement.Submitted) string {
	var parts []string
	for _, c := range []struct {
		n    int
		word string
	}{{len(s.Added), "added"}, {len(s.Changed), "changed"}, {len(s.Removed), "removed"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf(" %d %s", c.n, c.word))
		}
	}
	if len(parts) == 0 {
		return " nothing to start or stop"
	}
	return strings.Join(parts, ",")
}

func (p *printer) status(s placement.Status) {
	if p.json {
		p.object(s)
		return
	}
	fmt.Fprintf(p.stdout, "%6.1fs  %s  %s\n", time.Since(p.began).Seconds(), s.Replica, describe(s))
}

func (p *printer) summary(progress *progress) {
	if !p.json {
		fmt.Fprintf(p.stdout, "%s after %.1f s\n", progress, time.Since(p.began).Seconds())
	}
}

// object prints v as one line of JSON.
func (a *app) object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fmt.Fprintln(a.stderr, "schedctl: cannot print as JSON:", err)
		return
	}
	fmt.Fprintf(a.stdout, "%s\n", b)
}

// describe is "running on n1 (10.0.0.11:8080)" or "waiting: why".
func describe(s placement.Status) string {
	line := s.State.Word()
	if s.Node != "" {
		line += " on " + string(s.Node)
	}
	if s.State == placement.Running {
		if ports := published(s); ports != "" {
			line += " (" + ports + ")"
		}
	}
	switch phase := s.Phase; {
	case phase != "" && s.State != placement.Running:
		if phase != s.State.Word() {
			line += ", " + phase
		}
	case s.Why != "":
		line += ": " + s.Why
	}
	return line
}

// published is "10.0.0.11:8080->80", for each port on the node's address.
func published(s placement.Status) string {
	var parts []string
	for _, p := range s.Ports {
		if p.Host == 0 {
			continue
		}
		part := fmt.Sprintf("%d->%d", p.Host, p.Container)
		if s.Address != "" {
			part = fmt.Sprintf("%s:%s", s.Address, part)
		}
		if p.Proto == "udp" {
			part += "/udp"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// table prints rows in columns; the first is the header.
func table(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = tw.Flush() // w's own errors show at its next write
}

// age is a duration as `docker ps` writes it.
func age(m placement.Millis) string {
	text := units.HumanDuration(m.Duration())
	return strings.ToLower(text[:1]) + text[1:]
}

// shortImage drops the digest's tail.
func shortImage(image string) string {
	name, digest, ok := strings.Cut(image, "@sha256:")
	if !ok || len(digest) < 12 {
		return image
	}
	return name + "@" + digest[:12]
}

// cores and size are amounts as people write them.
func cores(milli int64) string { return fmt.Sprintf("%.3g", float64(milli)/1000) }

func size(n int64) string { return units.BytesSize(float64(n)) }
