// Package simulation plays the real core, over and over, in worlds that are drawn from a number. One seed is one world: targets that fall
// ill, senders, PagerDuty, people, several replicas on one store, and whatever can go wrong between them. Everything happens in one
// goroutine, under a clock that moves only when nothing else is left to do (testing/synctest), and whatever is left to chance is drawn
// from the seed: the same seed tells the same story, to the letter.
//
// The files: a plot is what the world will do (plot, outage, people, buttons, law); a town is what is acted on, with the ledger of what
// really happened (town, call, pager, sender); a replica is an engine with its notifier and all that can befall it (replica, stay, wire,
// port, luck); the stage lets time pass (stage, agenda); the jury judges by the plot and the ledger alone, never by the engine's own
// decisions (jury, expect); the tally counts what was reached (tally).
package simulation
