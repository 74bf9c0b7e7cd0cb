package model

import (
	"math"
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

// newest is above every (session, op).
var newest = placement.SessionOp{Session: math.MaxUint64}

// small is one placement on alike nodes.
func small(nodes int, faults map[int]uint8) Config {
	return Config{Nodes: nodes, Replica: []int{0}, Owner: []int{0}, Alike: true, Reports: 1, Faults: faults}
}

// lives is one replica that may have several lives.
func lives(nodes int, faults map[int]uint8) Config {
	c := small(nodes, faults)
	c.Replica = []int{0, 0}
	return c
}

// pair is two replicas with an HA token, on as many domains.
func pair(nodes, domains int, faults map[int]uint8) Config {
	c := small(nodes, faults)
	c.Alike, c.Token, c.Draws = false, true, true
	c.Replica, c.Owner = []int{0, 1}, []int{0, 0}
	for n := range c.Domain {
		c.Domain[n] = uint8(n % domains)
	}
	return c
}

// rolled is a configuration with rollbacks.
func rolled(c Config) Config {
	c.Marks = true
	return c
}

func delayed(c Config) Config {
	c.Reports = 2
	return c
}

// copied has the ledger's file copied at first; 2: and started again since.
func copied(how int, c Config) Config {
	c.Marks, c.Copied = true, how
	return c
}

// joined has nodes that came after the file was copied.
func joined(bits uint8, c Config) Config {
	c.Joined, c.Alike = bits, false
	return c
}

// at has each placement run on a node at first, -1: not.
func at(c Config, nodes ...int) Config {
	c.Runs = nodes
	return c
}

// taken has only some nodes take the offers of each placement.
func taken(c Config, bits ...uint8) Config {
	c.Takers, c.Alike = bits, false
	return c
}

type times = map[int]uint8

// ruleDefects are transitions that miss a clause.
func ruleDefects() []Defect {
	return []Defect{
		{Name: "bind by lock alone", Why: "the ledger's bind decides", Config: small(2, nil), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, _ string, _ nodeRec, _ placement.Bind) (record, slotRec, rule.Answer) {
				return rec, s, rule.Answer{Verdict: placement.VerdictYes}
			}
		}},
		{Name: "epoch stays on loss", Why: "a loss takes a new epoch", Config: small(2, times{fSilence: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Lose = func(rec record, s slotRec, n placement.NodeID, _ placement.Epoch) (record, slotRec, rule.Outcome) {
				return rule.Lose(rec, s, n, rec.Epoch)
			}
		}},
		{Name: "bind of any node", Why: "bound already to this node", Config: small(2, nil), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				if rec.Bound != nil && rec.Bound.Epoch == b.Epoch {
					return rec, s, rule.Answer{Verdict: placement.VerdictYes}
				}
				return rule.Bind(rec, s, k, n, b)
			}
		}},
		{Name: "bind of a removed placement", Why: "PENDING", Config: small(2, times{fRemove: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				if rec.State == placement.Cancelled {
					rec.State = placement.Pending
				}
				return rule.Bind(rec, s, k, n, b)
			}
		}},
		{Name: "absent as of any op", Why: "absent: report (session, op) >= the bound one", Config: small(1, nil), Breaks: func(r *Rules, _ *Misread) {
			r.Absent = func(rec record, s slotRec, n placement.NodeID, _ placement.SessionOp, e placement.Epoch) (record, slotRec, rule.Outcome) {
				return rule.Absent(rec, s, n, newest, e)
			}
		}},
		{Name: "gone as of any op", Why: "CANCELLED: a listing with (session, op) >= the bound one shows it gone", Config: lives(2, times{fSubmit: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Absent = func(rec record, s slotRec, n placement.NodeID, at placement.SessionOp, e placement.Epoch) (record, slotRec, rule.Outcome) {
				if rec.Leaving() {
					at = newest
				}
				return rule.Absent(rec, s, n, at, e)
			}
		}},
		{Name: "adopted by a bind as of any op", Why: "adopt: (session, op) newer than the recorded one", Config: small(1, times{fAskAgain: 1, fSilence: 2, fVanish: 1, fOldOffer: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				if l := rec.Last; rec.State == placement.Pending && l.Is(b.Node, b.Epoch) {
					rec.Last = &placement.Holder{Node: l.Node, Epoch: l.Epoch}
				}
				return rule.Bind(rec, s, k, n, b)
			}
		}},
		{Name: "adopted by a report as of any op", Why: "adopt: the report's (session, op) not older than that of last", Config: delayed(small(1, times{fVanish: 1, fSilence: 2, fOldOffer: 1})), Breaks: func(r *Rules, _ *Misread) {
			r.Seen = func(rec record, s slotRec, k string, n placement.NodeID, c placement.Copy, t rule.Trust) (record, slotRec, rule.Sight) {
				if l := rec.Last; rec.Bound == nil && l.Is(n, c.Epoch) {
					rec.Last = &placement.Holder{Node: l.Node, Epoch: l.Epoch}
				}
				return rule.Seen(rec, s, k, n, c, t)
			}
		}},
		{Name: "told to stop, not condemned", Why: "running otherwise: last cleared if it was that one", Config: at(small(1, times{fSilence: 1, fExpire: 1, fRetry: 1}), 0), Breaks: func(r *Rules, _ *Misread) {
			r.Seen = func(rec record, s slotRec, k string, n placement.NodeID, c placement.Copy, t rule.Trust) (record, slotRec, rule.Sight) {
				next, slot, sight := rule.Seen(rec, s, k, n, c, t)
				if sight.Stop != "" {
					next.Last = rec.Last
				}
				return next, slot, sight
			}
		}},
		{Name: "HA slot by lock alone", Why: "bind: HA slot free or held by this replica", Config: pair(2, 1, nil), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, _ slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				return rule.Bind(rec, slotRec{}, k, n, b)
			}
		}},
		{Name: "adopted into a held HA slot", Why: "adopt: HA slot free or held by this replica", Config: taken(at(pair(2, 1, times{fSilence: 1}), 0, -1), 1, 2), Breaks: func(r *Rules, _ *Misread) {
			r.Seen = func(rec record, _ slotRec, k string, n placement.NodeID, c placement.Copy, t rule.Trust) (record, slotRec, rule.Sight) {
				return rule.Seen(rec, slotRec{}, k, n, c, t)
			}
		}},
		{Name: "HA slot free while the removed one runs", Why: "its HA slot is free when it is shown gone", Config: taken(at(pair(2, 1, times{fRemove: 1}), 0, -1), 1, 2), Breaks: func(r *Rules, _ *Misread) {
			r.Cancel = func(rec record, s slotRec, why string, away away) (record, slotRec, rule.Outcome) {
				next, slot, o := rule.Cancel(rec, s, why, away)
				next.Slot = ""
				return next, slot.Without(rec.ID), o
			}
		}},
		{Name: "removed waits for a dead machine", Why: "silence: its CANCELLED ones count as gone", Repair: true, Config: small(2, times{fRemove: 1, fDies: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Lose = func(rec record, s slotRec, n placement.NodeID, e placement.Epoch) (record, slotRec, rule.Outcome) {
				if rec.Leaving() {
					return rec, s, rule.Nothing
				}
				return rule.Lose(rec, s, n, e)
			}
		}},
		{Name: "silence revives the removed", Why: "its BOUND and RUNNING placements PENDING", Config: small(2, times{fRemove: 1, fSilence: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Lose = func(rec record, s slotRec, n placement.NodeID, e placement.Epoch) (record, slotRec, rule.Outcome) {
				if rec.Leaving() {
					rec.State = placement.Running
				}
				return rule.Lose(rec, s, n, e)
			}
		}},
		{Name: "a late bind condemns", Why: "condemned if (session, op) is newer than that of last", Config: small(1, times{fDup: 1, fAskAgain: 1, fSilence: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				next, slot, a := rule.Bind(rec, s, k, n, b)
				if a.Verdict == placement.VerdictNo && rec.Bound == nil && rec.Last.Is(b.Node, b.Epoch) {
					next.Last, a.Changed = nil, true
				}
				return next, slot, a
			}
		}},
		{Name: "an exit as of any op", Why: "only an op newer than the bound one is an exit", Config: small(1, times{fExit: 1, fDup: 1, fDrain: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Exit = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind, e placement.Epoch, w time.Duration) (record, slotRec, rule.Answer) {
				b.At = newest
				return rule.Exit(rec, s, k, n, b, e, w)
			}
		}},
		{Name: "a refused start as of any op", Why: "failed: (session, op) not older than the bound one", Config: small(1, times{fRefuse: 1, fOldOffer: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Failed = func(rec record, s slotRec, f placement.Failed, e placement.Epoch) (record, slotRec, rule.Outcome) {
				f.At = newest
				return rule.Failed(rec, s, f, e)
			}
		}},
		{Name: "DEAD adopts nothing", Why: "running, record PENDING (or DEAD, but not by a deadline)", Config: small(1, times{fSilence: 1, fDie: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Seen = func(rec record, s slotRec, k string, n placement.NodeID, c placement.Copy, t rule.Trust) (record, slotRec, rule.Sight) {
				if rec.State == placement.Dead && t.Orders && c.State == placement.CopyRunning {
					return rec, s, rule.Sight{Stop: "it is dead"}
				}
				return rule.Seen(rec, s, k, n, c, t)
			}
		}},
		{Name: "the new life does not wait", Why: "submit after rm: the new one is due when the old is gone", Config: at(lives(2, times{fSubmit: 1}), 0, -1), Breaks: func(r *Rules, _ *Misread) {
			r.Blocked = func(rule.Replica, placement.Life) bool { return false }
		}},
		{Name: "stopped counts as gone", Why: "what is to leave keeps Bound until it is proven gone", Config: at(small(2, times{fStop: 1, fStart: 1, fRetry: 1}), 0), Breaks: func(r *Rules, _ *Misread) {
			r.Stop = func(rec record, s slotRec, by string, _ away) (record, slotRec, bool) {
				return rule.Stop(rec, s, by, func(placement.NodeID) bool { return true })
			}
		}},
		{Name: "started before its copy is gone", Why: "while the copy of a stopped one is not proven gone it stays DONE", Config: small(2, times{fStop: 1, fRetry: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Retry = func(rec record, e placement.Epoch) (record, bool) {
				rec.Bound = nil
				return rule.Retry(rec, e)
			}
		}},
		{Name: "a resumed copy may be anyone's", Why: "adopt: (node, epoch) is last", Config: small(2, times{fSilence: 1, fReboot: 1}), Breaks: func(r *Rules, _ *Misread) {
			r.Bind = func(rec record, s slotRec, k string, n nodeRec, b placement.Bind) (record, slotRec, rule.Answer) {
				if rec.State == placement.Pending {
					rec.Epoch = b.Epoch
				}
				return rule.Bind(rec, s, k, n, b)
			}
		}},
	}
}

// startDefects are starts and rollbacks that miss a clause.
func startDefects() []Defect {
	back := times{fSave: 1, fRestore: 1}
	return []Defect{
		{Name: "a rollback is not seen", Why: "a triple that proves it", Config: rolled(small(1, back)), Breaks: func(r *Rules, _ *Misread) {
			r.RolledBack = func(rule.Meta, uint64, placement.Mark) (string, bool) { return "", false }
		}},
		{Name: "a rollback is seen by terms", Why: "start: term<<16 | 16 random bits", Config: copied(2, small(1, times{fRestore: 1})), Breaks: func(r *Rules, _ *Misread) {
			r.RolledBack = func(m rule.Meta, rev uint64, shown placement.Mark) (string, bool) {
				plain := rule.Meta{Gen: m.Gen, Hold: m.Hold}
				for _, s := range m.Starts {
					s.Start = placement.NewStart(s.Start.Term(), 0)
					plain.Starts = append(plain.Starts, s)
				}
				shown.Start = placement.NewStart(shown.Start.Term(), 0)
				return plain.RolledBack(rev, shown)
			}
		}},
		{Name: "a start is not random", Why: "no epoch is given by two histories", Config: copied(2, small(2, times{fRestore: 1, fHoldCut: 1})), Breaks: func(_ *Rules, m *Misread) { m.startNotRandom = true }},
		{Name: "a start keeps the epochs", Why: "a PENDING record takes a new epoch at each start", Config: copied(1, small(2, times{fRestore: 1, fHoldCut: 1})), Breaks: func(_ *Rules, m *Misread) { m.epochPerPlacement = true }},
		{Name: "a start does not hold", Why: "until each known node has registered and listed", Config: copied(1, small(2, times{fRestore: 1})), Breaks: func(_ *Rules, m *Misread) { m.noStartHold = true }},
		{Name: "registered is known", Why: "and then sent a complete listing", Config: copied(1, small(2, times{fRestore: 1})), Breaks: func(_ *Rules, m *Misread) { m.registeredIsKnown = true }},
		{Name: "a restart ends the hold", Why: "durable: a restart does not end the hold", Config: copied(1, small(1, times{fRestore: 1, fRestart: 1})), Breaks: func(r *Rules, _ *Misread) {
			r.Begin = func(m rule.Meta, random uint16, first uint64, renew bool, shown placement.Mark) rule.Meta {
				next := m.Begin(random, first, renew, shown)
				next.Hold = renew
				return next
			}
		}},
		{Name: "an old listing ends the hold", Why: "under the session given there", Config: copied(1, small(1, times{fRestore: 1})), Breaks: func(_ *Rules, m *Misread) { m.oldListingCounts = true }},
		{Name: "the session is rolled back too", Why: "a session above its own last and the one shown", Config: joined(1, copied(1, small(1, times{fRestore: 1, fVanish: 1, fHoldCut: 1}))), Breaks: func(_ *Rules, m *Misread) { m.sessionRolledBack = true }},
		{Name: "no hold after a rollback", Why: "the ledger holds offers, binds and stop orders", Config: rolled(small(1, back)), Breaks: func(r *Rules, _ *Misread) {
			r.Begin = func(m rule.Meta, random uint16, first uint64, renew bool, shown placement.Mark) rule.Meta {
				next := m.Begin(random, first, renew, shown)
				next.Hold = false
				return next
			}
		}},
		{Name: "not the highest epoch is adopted", Why: "adopts the highest epoch running", Config: copied(1, taken(at(small(2, times{fRestore: 1, fSilence: 1}), 0), 2)), Breaks: func(_ *Rules, m *Misread) { m.notHighest = true }},
		{Name: "reclaimed into a held HA slot", Why: "where its HA slot is free", Config: copied(1, taken(at(pair(2, 1, times{fRestore: 1, fSilence: 1}), 0, -1), 1, 2)), Breaks: func(r *Rules, _ *Misread) {
			r.Reclaim = func(rec record, s slotRec, k string, h placement.Holder) (record, slotRec, bool) {
				next, _, ok := rule.Reclaim(rec, slotRec{}, k, h)
				return next, s.With(rec.ID), ok
			}
		}},
		{Name: "unknown copies stay", Why: "it takes in the placements it does not know", Repair: true, Config: copied(1, at(lives(1, times{fRestore: 1, fSubmit: 1}), 0, -1)), Breaks: func(_ *Rules, m *Misread) { m.noTakeIn = true }},
		{Name: "unknown copies are stopped", Why: "quarantined and shown, never killed", Config: copied(1, Config{Nodes: 1, Replica: []int{0}, Owner: []int{0}, Absent: []bool{true}, Alike: true, Reports: 1, Faults: times{fRestore: 1, fSubmit: 1}}), Breaks: func(_ *Rules, m *Misread) { m.unknownKilled, m.noTakeIn = true, true }},
		{Name: "the oldest life is taken in as wanted", Why: "the life with the highest k is the wanted one", Config: copied(1, at(lives(1, times{fRestore: 1, fSubmit: 1}), 0, -1)), Breaks: func(r *Rules, _ *Misread) {
			r.TakeIn = func(rep rule.Replica, found []rule.Found) (rule.Replica, []record, placement.Life) {
				before := rep.Wanted
				next, records, _ := rule.TakeIn(rep, found)
				next.Wanted = before
				return next, records, ""
			}
		}},
		{Name: "agents take orders of an older generation", Why: "agents refuse messages of an older one", Config: copied(1, at(small(1, times{fRestore: 1, fRemove: 1, fFlap: 1}), 0)), Breaks: func(_ *Rules, m *Misread) { m.oldGeneration = true }},
		{Name: "a hold keeps no absence back", Why: "the ledger declares nothing absent, gives no stop order", Config: rolled(small(1, back)), Breaks: func(_ *Rules, m *Misread) { m.absentWhileHeld = true }},
		{Name: "a hold keeps no bind back", Why: "nor binds what was submitted before its start", Config: copied(1, small(2, times{fRestore: 1})), Breaks: func(_ *Rules, m *Misread) { m.bindWhileHeld = true }},
	}
}

// useDefects are agentd, hostinfod and the ledger's bookkeeping, misread.
func useDefects() []Defect {
	return []Defect{
		{Name: "op is read after the listing", Why: "reads the file, then lists", Config: small(1, nil), Breaks: func(_ *Rules, m *Misread) { m.opAfterListing = true }},
		{Name: "op is stepped before create alone", Why: "op is +1 at each bind", Config: small(1, nil), Breaks: func(_ *Rules, m *Misread) { m.opBeforeCreate = true }},
		{Name: "created is absent", Why: "a container that is only created is not absent", Config: small(1, nil), Breaks: func(_ *Rules, m *Misread) { m.createdIsAbsent = true }},
		{Name: "any answer counts", Why: "a reply counts only for the bind with the same op", Config: small(1, times{fCrash: 1}), Breaks: func(_ *Rules, m *Misread) { m.noNonce = true }},
		{Name: "a stop order names the placement alone", Why: "exactly (id, epoch)", Config: at(small(2, times{fSilence: 2}), 0), Breaks: func(_ *Rules, m *Misread) { m.killByPlacement = true }},
		{Name: "agents judge themselves", Why: "no node judges its own copy by hearsay", Config: at(small(2, times{fOldOffer: 1}), 0), Breaks: func(_ *Rules, m *Misread) { m.judgeThemselves = true }},
		{Name: "a listing without the file proves absence", Why: "no readable file: presence, never absence", Config: small(1, times{fReboot: 1}), Breaks: func(_ *Rules, m *Misread) { m.noFileProves = true }},
		{Name: "a daemon that was not listed is empty", Why: "says nothing about that daemon", Config: daemons(times{fDaemon: 1}), Breaks: func(_ *Rules, m *Misread) { m.unlistedIsEmpty = true }},
		{Name: "the file keeps the old session", Why: "the file holds the new session", Repair: true, Config: at(small(1, times{fVanish: 1, fReboot: 1}), 0), Breaks: func(_ *Rules, m *Misread) { m.fileKept = true }},
		{Name: "nobody stops what met a tombstone", Why: "a copy that meets one is stopped", Repair: true, Config: small(2, times{fRemove: 1, fSilence: 1}), Breaks: func(_ *Rules, m *Misread) { m.tombStopsNothing = true }},
		{Name: "submits are not compared", Why: "compared and written by every submit", Config: at(Config{Nodes: 1, Replica: []int{0, 0, 0}, Owner: []int{0}, Alike: true, Reports: 1, Faults: times{fSubmit: 1, fSubmitTwo: 1}}, 0, -1, -1), Breaks: func(_ *Rules, m *Misread) { m.notCompared = true }},
		{Name: "the HA slot is not compared", Why: "one transaction that compares both", Config: pair(2, 1, nil), Breaks: func(_ *Rules, m *Misread) { m.slotNotCompared = true }},
		{Name: "no answer to a start is a refusal", Why: "a start whose call timed out is unknown", Config: small(1, times{fUnknown: 1}), Breaks: func(_ *Rules, m *Misread) { m.unknownIsFailed = true }},
		{Name: "Docker restarts by itself", Why: "restart policy is ours, never Docker's", Config: small(1, times{fExit: 1, fDrain: 1}), Breaks: func(_ *Rules, m *Misread) { m.restartsItself = true }},
		{Name: "a given-up node is not told", Why: "given up, until it registers again", Repair: true, Config: at(small(2, times{fGiveUp: 1}), 0), Breaks: func(_ *Rules, m *Misread) { m.givenUpUntold = true }},
		{Name: "a mute daemon is empty at the end of a hold", Why: "says nothing about that daemon", Config: copied(1, at(daemons(times{fRestore: 1, fDaemon: 1, fFlap: 1}), 0, 0)), Breaks: func(_ *Rules, m *Misread) { m.muteIsEmpty = true }},
		{Name: "created copies are not swept", Why: "the sweep of never-started copies", Repair: true, Config: small(2, times{fCrash: 1}), Breaks: func(_ *Rules, m *Misread) { m.notSwept = true }},
	}
}

// daemons is two placements of two owners on one node.
func daemons(f times) Config {
	c := small(1, f)
	c.Replica, c.Owner = []int{0, 1}, []int{0, 1}
	return c
}

// Defects are all of them.
func Defects() []Defect {
	all := append(ruleDefects(), startDefects()...)
	return append(all, useDefects()...)
}
