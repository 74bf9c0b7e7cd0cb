package model

import (
	"time"

	"longshore/internal/placement"
	"longshore/retryq/rule"
)

type (
	record  = rule.Record
	slotRec = rule.Slot
	nodeRec = placement.NodeRecord
	away    = func(placement.NodeID) bool
)

// Rules are the product's transitions. A [Defect] wraps one of them.
type Rules struct {
	Bind        func(record, slotRec, string, nodeRec, placement.Bind) (record, slotRec, rule.Answer)
	Exit        func(record, slotRec, string, nodeRec, placement.Bind, placement.Epoch, time.Duration) (record, slotRec, rule.Answer)
	Seen        func(record, slotRec, string, placement.NodeID, placement.Copy, rule.Trust) (record, slotRec, rule.Sight)
	Absent      func(record, slotRec, placement.NodeID, placement.SessionOp, placement.Epoch) (record, slotRec, rule.Outcome)
	Lose        func(record, slotRec, placement.NodeID, placement.Epoch) (record, slotRec, rule.Outcome)
	Failed      func(record, slotRec, placement.Failed, placement.Epoch) (record, slotRec, rule.Outcome)
	Unconfirmed func(record, slotRec, bool, placement.Epoch) (record, slotRec, rule.Outcome)
	Reclaim     func(record, slotRec, string, placement.Holder) (record, slotRec, bool)
	Cancel      func(record, slotRec, string, away) (record, slotRec, rule.Outcome)
	Stop        func(record, slotRec, string, away) (record, slotRec, bool)
	Start       func(record, placement.Epoch) (record, bool)
	Retry       func(record, placement.Epoch) (record, bool)
	Expire      func(record, string) (record, bool)
	Die         func(record, string) (record, bool)
	Renew       func(record, placement.Epoch) (record, bool)
	Rollout     func(rule.App, []string, []rule.Standing) ([]rule.Step, bool)
	TakeIn      func(rule.Replica, []rule.Found) (rule.Replica, []record, placement.Life)
	Blocked     func(rule.Replica, placement.Life) bool
	Begin       func(rule.Meta, uint16, uint64, bool, placement.Mark) rule.Meta
	RolledBack  func(rule.Meta, uint64, placement.Mark) (string, bool)
}

// product is the protocol as it is.
func product() Rules {
	return Rules{
		Bind: rule.Bind, Exit: rule.Exit, Seen: rule.Seen, Absent: rule.Absent, Lose: rule.Lose, Failed: rule.Failed,
		Unconfirmed: rule.Unconfirmed, Reclaim: rule.Reclaim, Cancel: rule.Cancel, Stop: rule.Stop, Start: rule.Start,
		Retry: rule.Retry, Expire: rule.Expire, Die: rule.Die, Renew: rule.Renew, Rollout: rule.Rollout, TakeIn: rule.TakeIn,
		Blocked: rule.Replica.Blocked, Begin: rule.Meta.Begin, RolledBack: rule.Meta.RolledBack,
	}
}

// Misread are the clauses outside of the rules that a defect removes.
type Misread struct {
	opAfterListing    bool // hostinfod reads the op file after it listed
	opBeforeCreate    bool // op is stepped before create, and not at the bind
	noNonce           bool // an answer counts for any bind of the copy
	fileKept          bool // a registration leaves the old session in the file
	killByPlacement   bool // a stop order names the placement alone
	judgeThemselves   bool // an agent removes what runs below an epoch that it hears of
	createdIsAbsent   bool // a report does not show what is only created
	noFileProves      bool // a listing without the op file counts as one of the newest op
	unlistedIsEmpty   bool // a daemon that was not listed counts as empty
	reportsUnordered  bool // (link, seq) is not looked at
	noStartHold       bool // a start does not hold
	registeredIsKnown bool // a hold ends when all are registered
	oldListingCounts  bool // of whatever session
	absentWhileHeld   bool // a hold does not keep absences and stop orders back
	bindWhileHeld     bool // nor binds
	sessionRolledBack bool // the session shown is not looked at
	startNotRandom    bool
	epochPerPlacement bool // a PENDING keeps its epoch over a start
	notHighest        bool // the lowest epoch that runs is adopted
	noTakeIn          bool
	unknownKilled     bool // copies of unknown placements are stopped
	tombStopsNothing  bool
	notCompared       bool // submits do not compare what they read
	slotNotCompared   bool // nor binds the slot
	notSwept          bool // a registration leaves created copies
	oldGeneration     bool // agents take orders of an older generation
	unknownIsFailed   bool // a start that was not answered is called refused
	restartsItself    bool // Docker starts an exited copy again
	givenUpUntold     bool // the agent of a node that is given up is not told
	muteIsEmpty       bool // a daemon that was not listed is, at the end of a hold
}
