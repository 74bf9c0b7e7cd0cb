package model

import "longshore/internal/placement"

// named gives a configuration its name.
func named(name string, c Config) Config {
	c.Name = name
	return c
}

// Configs are those in which the protocol as it is must hold. Some are so small
// that all of their states can be reached.
func Configs() []Config {
	onFailure := small(2, times{fExit: 2, fDup: 1, fAskAgain: 1, fRetry: 1})
	onFailure.Restart = placement.RestartNo
	events := delayed(small(1, times{fEvent: 2, fCrash: 1, fVanish: 1, fSilence: 1}))
	events.Events = true
	room := small(2, times{fSilence: 1, fVanish: 1, fDrain: 1})
	room.Replica, room.Owner, room.Room, room.Draws = []int{0, 1}, []int{0, 0}, 1, true
	twoClients := small(2, times{fSubmit: 1, fSubmitTwo: 1, fRemove: 1})
	twoClients.Replica = []int{0, 0, 0}
	lifeAndPair := pair(3, 2, times{fSubmit: 1, fSilence: 1})
	lifeAndPair.Replica, lifeAndPair.Owner = []int{0, 0, 1}, []int{0, 0}
	return []Config{
		named("one node, everything once", small(1, times{fCrash: 1, fHostinfo: 1, fReboot: 1, fVanish: 1, fRefuse: 1, fUnknown: 1, fExit: 1, fSilence: 1, fLate: 1, fAskAgain: 1})),
		named("agentd dies", small(2, times{fCrash: 1, fVanish: 1, fSilence: 1})),
		named("machine boots", small(2, times{fReboot: 1, fExit: 1, fSilence: 1})),
		named("Docker is slow", small(2, times{fRefuse: 1, fUnknown: 1, fLate: 1, fExit: 1})),
		named("reports come late", delayed(small(1, times{fVanish: 1, fSilence: 2, fOldOffer: 1, fAskAgain: 1, fLate: 1}))),
		named("reports come late, two nodes", delayed(small(2, times{fVanish: 1, fSilence: 1}))),
		named("events by themselves", events),
		named("messages come twice", small(2, times{fDup: 2, fAskAgain: 1, fOldOffer: 1, fSilence: 1})),
		named("three nodes, silence", small(3, times{fSilence: 2})),
		named("rm and submit", lives(2, times{fRemove: 1, fSubmit: 1, fSilence: 1})),
		named("two clients", twoClients),
		named("drain and give up", small(2, times{fDrain: 2, fGiveUp: 1, fExit: 1})),
		named("drain moves lives", at(lives(2, times{fDrain: 2, fSilence: 1, fExit: 1}), 0, -1)),
		named("give up, and it comes back", small(2, times{fGiveUp: 1, fCrash: 1, fVanish: 1})),
		named("machine dies for ever", lives(2, times{fDies: 1, fRemove: 1, fStop: 1, fStart: 1})),
		named("HA pair, one domain", pair(2, 1, times{fSilence: 1, fRemove: 1})),
		named("HA pair, two domains", pair(3, 2, times{fSilence: 1, fVanish: 1})),
		named("HA pair, lives", lifeAndPair),
		named("ends for good", onFailure),
		named("stop and start", small(2, times{fStop: 1, fStart: 1, fSilence: 1, fCrash: 1})),
		named("stop, retry, exit", small(2, times{fStop: 2, fRetry: 1, fExit: 1})),
		named("destroy and bring back", lives(2, times{fDestroy: 1, fRevive: 1, fSilence: 1})),
		named("DEAD and retried", small(2, times{fSilence: 1, fDie: 1, fRetry: 1, fExpire: 1})),
		named("room for one", room),
		named("two daemons a node", daemons(times{fDaemon: 2, fVanish: 1, fSilence: 1, fCrash: 1})),
		named("ledger restarts", small(2, times{fRestart: 1, fExit: 1, fHoldCut: 1})),
		named("ledger restarts twice", small(1, times{fRestart: 2, fCrash: 1, fVanish: 1, fHoldCut: 1})),
		named("file copied back", rolled(small(2, times{fSave: 1, fRestore: 1, fHoldCut: 1}))),
		named("file copied back, one node", rolled(small(1, times{fSave: 1, fRestore: 1, fRestart: 1, fCrash: 1, fVanish: 1}))),
		named("file copied back twice", rolled(small(1, times{fSave: 2, fRestore: 2, fVanish: 1}))),
		named("file copied back, same term", copied(2, small(2, times{fRestore: 1, fHoldCut: 1, fSilence: 1}))),
		named("file copied back, lives", copied(1, at(lives(2, times{fRestore: 1, fSubmit: 1}), 0, -1))),
		named("file copied back, HA pair", copied(1, at(pair(2, 1, times{fRestore: 1, fSilence: 1}), 0, -1))),
		named("file copied back, mute daemon", copied(1, at(daemons(times{fRestore: 1, fDaemon: 1, fFlap: 1, fCrash: 1}), 0, 0))),
		named("file copied back, stopped", copied(1, at(small(2, times{fRestore: 1, fStop: 1, fStart: 1}), 0))),
	}
}
