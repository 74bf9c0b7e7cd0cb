package model

// Bounds of the arrays in a state; a [Config] may use less.
const (
	maxNodes  = 3
	maxPlaces = 3
	maxReps   = 2 // reports of one node in flight
	maxSaved  = 2 // copies of the ledger's file
	maxStarts = 6
)

// Every field of a state is a byte, so that states are compared, hashed and
// packed as bytes. References to nodes and placements are 1 + index; 0: none.

// At is (session, op); session 0: none.
type At struct{ S, O uint8 }

func (a At) less(b At) bool { return a.S < b.S || a.S == b.S && a.O < b.O }

// Holder is who may run, or may have back, which epoch.
type Holder struct {
	N, E uint8
	At   At
}

func (h Holder) is(n int, e uint8) bool { return int(h.N) == n+1 && h.E == e }

// States of a placement's record.
const (
	unborn = iota
	pending
	bound
	running
	done
	dead
	cancelled
	buried
)

// Rec is the ledger's record of a placement.
type Rec struct {
	State   uint8
	E       uint8 // epoch of the next offer
	Bound   Holder
	Last    Holder
	Slot    uint8 // 1 + domain
	Expired uint8
	By      uint8
	Again   uint8
	Home    uint8
	Born    uint8 // start that began it
	Digest  uint8 // which wish of its replica
}

func (r Rec) live() bool { return r.State == bound || r.State == running }

// Repl is the ledger's record of a replica and of the app that wishes it, which
// is an app of its own.
type Repl struct {
	Lives  uint8 // bits of placements
	Wanted uint8 // 1 + placement
	Ended  uint8 // digest that somebody destroyed
	Wish   uint8 // digest that is wished; 0: removed
	Wishes uint8 // how often it changed
	Since  uint8 // placements above it were begun for this wish
}

// Start is one start of the ledger and its first revision.
type Start struct{ Start, First uint8 }

// Durable is what the ledger's file holds, but for what it holds of nodes.
type Durable struct {
	Recs   [maxPlaces]Rec
	Repl   [maxPlaces]Repl
	Slots  [maxNodes]uint8 // by domain: bits of placements
	Starts [maxStarts]Start
	NStart uint8
	Gen    uint8
	Hold   uint8
	Expect uint8 // it knows nothing of what its nodes have seen
	Rev    uint8
}

func (d *Durable) start() uint8 { return d.Starts[d.NStart-1].Start }

// Mark is what an agent remembers of its ledger.
type Mark struct{ Gen, Start, Rev uint8 }

// States of a container.
const (
	none = iota
	created
	up
	exited
)

// Cont is the one container that a daemon may have of a placement.
type Cont struct {
	State uint8
	E     uint8
	Hand  uint8 // a start is in dockerd's hands: it may still happen
	Maybe uint8 // the agent knows that
	Done  uint8 // the agent was told to keep it stopped
}

// Where an agent is with a placement.
const (
	idle     = iota
	made     // created, not asked yet
	asked    // a bind is out
	starting // told yes, the start is under way
	started  // it runs, op is not stepped yet
	removing
	removed // it is gone, op is not stepped yet
)

// Task is an agent's work on one placement.
type Task struct {
	PC     uint8
	E      uint8
	Q      At    // of the bind in hand
	Resume uint8 // the copy was started before
	Grace  uint8 // a running one is stopped too
	Fail   uint8 // Docker refused it: tell the ledger
	Hist   uint8 // whose word it is carried out on; 0: nobody's
}

// Req is a bind under way; Kind 1: of a created copy, 2: of one that ended.
type Req struct {
	Kind, E uint8
	At      At
}

// Verdicts of an answer.
const (
	noAnswer = iota
	yes
	no
	doneFor
	stale
)

// Ans is an answer under way.
type Ans struct {
	Verdict uint8
	E       uint8
	At      At
	Mark    Mark
	Hist    uint8
}

// Order is a stop order under way.
type Order struct{ E, Gen, Start, Hist uint8 }

// Fail is the word under way that Docker refused a start.
type Fail struct {
	E  uint8
	At At
}

// Shown is a copy as a report shows it.
type Shown struct{ State, E uint8 }

// Report of one node, under way. Kind 1: complete, 2: of one event.
type Report struct {
	Kind uint8
	At   At
	Down uint8 // bits of owners whose daemon could not be listed
	C    [maxPlaces]Shown
}

// Node is all that belongs to one node: its processes, its containers, what is
// under way from and to it, and what the ledger holds of it.
type Node struct {
	Sess   uint8 // ledger, durable: session given last
	Saved  [maxSaved]uint8
	Drain  uint8
	Given  uint8 // given up
	Reg    uint8 // ledger, in memory: registered with this start
	Listed uint8
	Lost   uint8 // silent for longer than allowed
	LAt    At    // the last listing
	LC     [maxPlaces]Shown
	LDown  uint8

	Dead  uint8 // the machine, for ever
	Down  uint8 // bits of owners whose daemon does not answer
	RS    uint8 // agentd: session it is registered under; 0: not
	RGen  uint8
	RSt   uint8
	Again uint8 // it has to register again
	PS    uint8 // session in a registration's answer under way
	PMark Mark
	Cur   At
	File  At
	Mark  Mark

	HI   uint8 // hostinfod: has read the file
	HAt  At
	HC   [maxPlaces]Shown // of a defect: listed before the file is read
	Reps [maxReps]Report  // oldest first

	C    [maxPlaces]Cont
	T    [maxPlaces]Task
	Req  [maxPlaces][2]Req // oldest first
	Ans  [maxPlaces]Ans
	Fail [maxPlaces]Fail
	Ord  [maxPlaces]Order

	Susp [maxPlaces]uint8 // epoch whose silence is on record: it may run beside another

	bind, last, home uint8 // while nodes are sorted
}

// State is one state of the whole cluster.
type State struct {
	D      Durable
	Saved  [maxSaved]Durable
	NSaved uint8
	Used   uint8 // bits of placements that were ever begun
	Hist   uint8 // 1 + how often a file was copied back
	HoldOn uint8
	HoldAl uint8
	Old    [maxPlaces]Order // an older offer that may come again
	Stale  Stale
	Left   [faults]uint8 // how often each fault may still happen
	N      [maxNodes]Node
}

// Stale is what a second client has read, and not written yet.
type Stale struct {
	On   uint8
	Repl Repl
	Rec  Rec
}
