package hostnet

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ruleset is what the host has: the rules of each chain of the tables filter
// and nat, in order, as iptables-save prints them.
type ruleset map[chainID][]string

type chainID struct{ table, chain string }

// parseRuleset reads the output of iptables-save.
func parseRuleset(save string) ruleset {
	rules := ruleset{}
	table := ""
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line[1:], " ")
			rules[chainID{table, chain}] = nil
		case strings.HasPrefix(line, "-A "):
			chain, _, _ := strings.Cut(line[3:], " ")
			id := chainID{table, chain}
			rules[id] = append(rules[id], line)
		}
	}
	return rules
}

// jump is the one rule in a chain of the system that leads to one of ours.
type jump struct{ table, from, to, match string }

// Local addresses alone can be DNAT'ed; asking that first keeps other traffic
// from walking through the rules.
const toLocal = "-m addrtype --dst-type LOCAL "

func (n names) jumps() []jump {
	return []jump{
		{table: "filter", from: "FORWARD", to: n.forward()},
		{table: "nat", from: "PREROUTING", to: n.dnat(), match: toLocal},
		{table: "nat", from: "OUTPUT", to: n.dnat(), match: toLocal},
		{table: "nat", from: "POSTROUTING", to: n.masquerade()},
	}
}

// target is where a rule leads to.
func target(rule string) string {
	fields := strings.Fields(rule)
	for i := len(fields) - 2; i >= 0; i-- {
		if fields[i] == "-j" || fields[i] == "-g" {
			return fields[i+1]
		}
	}
	return ""
}

// first tells whether the jump is there once, behind nothing but jumps of
// other nodes. (If each wanted to be before all others, they would never rest.)
func (j jump) first(rules ruleset) bool {
	list := rules[chainID{j.table, j.from}]
	at := slices.IndexFunc(list, func(r string) bool { return target(r) == j.to })
	if at < 0 {
		return false
	}
	for i, r := range list {
		if i < at && !strings.HasPrefix(target(r), chainPrefix) || i > at && target(r) == j.to {
			return false
		}
	}
	return true
}

// removal is the lines that take the jump out, wherever and how often it is.
func (j jump) removal(rules ruleset) []string {
	var lines []string
	for _, r := range rules[chainID{j.table, j.from}] {
		if target(r) == j.to {
			lines = append(lines, "-D"+strings.TrimPrefix(r, "-A"))
		}
	}
	return lines
}

// insertion is the line that puts the jump first.
func (j jump) insertion(n names) string {
	return fmt.Sprintf("-I %s 1 %s-m comment --comment %q -j %s", j.from, j.match, n.comment(""), j.to)
}

// wanted is everything that this node wants the host to have.
type wanted struct {
	names names
	users []userNet // sorted by bridge
	rules []Rule    // sorted by key
}

type userNet struct {
	bridge string
	subnet netip.Prefix
}

// filterHead is the number of rules before those of single bridges.
const filterHead = 3

// forwardRules passes on what belongs to owners' bridges and keeps them apart.
// What concerns none of them goes on to the host's own rules. All rules are
// written as iptables-save prints them.
func (w wanted) forwardRules() []string {
	ours := w.names.bridges() + "+"
	add := "-A " + w.names.forward() + " "
	lines := []string{
		add + "-o " + ours + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		add + "-i " + ours + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		add + "-o " + ours + " -m conntrack --ctstate DNAT -j ACCEPT", // a host port
	}
	for _, u := range w.users {
		lines = append(lines, w.withinRule(u))
	}
	const reject = " -j REJECT --reject-with icmp-port-unreachable"
	return append(lines,
		add+"-i "+ours+" -m conntrack --ctstate DNAT -j ACCEPT", // a host port of another node here
		add+"-i "+ours+" -o "+userPrefix+"+"+reject,             // owners apart, on all nodes of this host
		add+"-i "+ours+" -j ACCEPT",                             // outwards
		add+"-o "+ours+reject,                                   // not exposed
	)
}

// withinRule is for a bridge's own frames, which pass FORWARD as well where
// bridge-nf-call-iptables is on.
func (w wanted) withinRule(u userNet) string {
	return "-A " + w.names.forward() + " -i " + u.bridge + " -o " + u.bridge + " -j ACCEPT"
}

// masqueradeRules leaves traffic within a bridge alone: the peer would see the
// gateway instead of the caller.
func (w wanted) masqueradeRules() []string {
	var lines []string
	for _, u := range w.users {
		lines = append(lines, fmt.Sprintf("-A %s -s %s ! -o %s -j MASQUERADE", w.names.masquerade(), u.subnet, u.bridge))
	}
	return lines
}

func (w wanted) dnatRules() []string {
	var lines []string
	for _, r := range w.rules {
		to := "-d " + r.Address.String() + "/32"
		if r.anywhere() {
			to = "! -d 127.0.0.0/8"
		}
		lines = append(lines, fmt.Sprintf("-A %s %s -p %s -m %s --dport %d -m comment --comment %q -j DNAT --to-destination %s",
			w.names.dnat(), to, r.Proto, r.Proto, r.HostPort, w.names.comment(r.Key), r.To))
	}
	return lines
}

// ruleset is what our chains are to hold.
func (w wanted) ruleset() ruleset {
	return ruleset{
		chainID{"filter", w.names.forward()}: w.forwardRules(),
		chainID{"nat", w.names.dnat()}:       w.dnatRules(),
		chainID{"nat", w.names.masquerade()}: w.masqueradeRules(),
	}
}

// restore is the input of iptables-restore --noflush that leads from what the
// host has to what is wanted; "" if there is nothing to do. Jumps are looked at
// only if jumps says that now knows them.
//
// A chain that only lacks rules gets them added; one that has others is written
// anew, which is atomic as well but ten times slower: the kernel waits before it
// frees what was there.
func (w wanted) restore(now ruleset, jumps bool) string {
	want := w.ruleset()
	var b strings.Builder
	for _, table := range []string{"filter", "nat"} {
		var lines []string
		for _, chain := range []string{w.names.forward(), w.names.dnat(), w.names.masquerade()} {
			id := chainID{table, chain}
			if _, here := want[id]; here {
				lines = append(lines, w.change(id, now, want[id])...)
			}
		}
		for _, j := range w.names.jumps() {
			if j.table == table && jumps && !j.first(now) {
				lines = append(append(lines, j.removal(now)...), j.insertion(w.names))
			}
		}
		if len(lines) > 0 {
			b.WriteString("*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return b.String()
}

// change is the lines that make one chain hold what it is to.
func (w wanted) change(id chainID, now ruleset, want []string) []string {
	have, exists := now[id]
	missing := without(want, have)
	if !exists || len(without(have, want)) > 0 {
		return append([]string{":" + id.chain + " - [0:0]"}, want...)
	}
	if id.table == "nat" || len(missing) == 0 {
		return missing
	}
	var inserted []string
	for _, u := range w.users { // these have their place in the middle
		if rule := w.withinRule(u); slices.Contains(missing, rule) {
			prefix := "-A " + id.chain
			inserted = append(inserted, fmt.Sprintf("-I %s %d%s", id.chain, filterHead+1, strings.TrimPrefix(rule, prefix)))
		}
	}
	if len(inserted) < len(missing) {
		return append([]string{":" + id.chain + " - [0:0]"}, want...)
	}
	return inserted
}

// without is the lines of a that are not in b; a line that a has more often
// than b is among them.
func without(a, b []string) []string {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	var rest []string
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			rest = append(rest, line)
		}
	}
	return rest
}

// sweep is the input of iptables-restore --noflush that removes our jumps and
// chains; "" if there are none.
func (n names) sweep(now ruleset) string {
	var b strings.Builder
	for _, table := range []string{"filter", "nat"} {
		var lines []string
		for _, chain := range []string{n.forward(), n.dnat(), n.masquerade()} {
			if _, exists := now[chainID{table, chain}]; !exists {
				continue
			}
			lines = append(lines, ":"+chain+" - [0:0]")
			for _, j := range n.jumps() {
				if j.table == table && j.to == chain {
					lines = append(lines, j.removal(now)...)
				}
			}
			lines = append(lines, "-X "+chain)
		}
		if len(lines) > 0 {
			b.WriteString("*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
		}
	}
	return b.String()
}

var dnatForm = regexp.MustCompile(`^-A \S+ (?:-d ([0-9.]+)/32|! -d 127\.0\.0\.0/8) -p (tcp|udp) -m (?:tcp|udp) --dport (\d+) -m comment --comment "?([^"]*)"? -j DNAT --to-destination (\S+)$`)

// exposed reads our rules back from the host.
func (n names) exposed(now ruleset) []Rule {
	var all []Rule
	for _, line := range now[chainID{"nat", n.dnat()}] {
		m := dnatForm.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		key, ours := strings.CutPrefix(m[4], n.comment("")+" ")
		port, badPort := strconv.ParseUint(m[3], 10, 16)
		to, badTo := netip.ParseAddrPort(m[5])
		if !ours || badPort != nil || badTo != nil {
			continue
		}
		address := netip.IPv4Unspecified()
		if m[1] != "" {
			address, _ = netip.ParseAddr(m[1]) // iptables wrote it
		}
		all = append(all, Rule{Key: key, Address: address, HostPort: uint16(port), Proto: m[2], To: to})
	}
	return all
}
