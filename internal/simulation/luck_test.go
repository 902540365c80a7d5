package simulation

import "time"

// fault is one thing that can go wrong.
type fault int

// The faults.
const (
	deliveredTwice fault = iota
	deliveredLate
	deliveredOutOfOrder
	acceptReplyLost
	hintLost
	staleHint
	probeSilent
	probeFails
	probeUnknown
	probeNaN
	probeContradicts
	rereadFails
	planFails
	planRefused
	planTooWide
	deployTakesTime
	throttled
	rejected
	neverArrives
	landsLate
	landsVeryLate
	conflict
	handBeforeCall
	handWhileWatched
	replyLost
	slowChange
	failsInside
	readFails
	readUnclear
	lookUpFails
	pagerFails
	pagerReplyLost
	pagerLimits
	pagerDown
	slackFails
	crashBeforeStore
	crashAfterStore
	crashInCall
	crashAfterCall
	crashElsewhere
	killedWhileFrozen
	freezeShort
	freezeLong
	sleepBeforeCall
	storeFails
	storeDown
	clockForward
	clockBack
	handAnyTime
	pressPause
	pressRelease
	reload
	falseResolve
	merged
	acknowledged
	stopFilePressed
	noAnswer
	guardsUnread
	saidBeforeCall
	sleepBeforePlan
	hintTwice
	neverClear
	readsOld
	planPanics
	handWhileAsked
	grouped
	faults // how many there are
)

var faultNames = [faults]string{
	"delivered_twice", "delivered_late", "delivered_out_of_order", "accept_reply_lost", "hint_lost", "stale_hint", "probe_silent",
	"probe_fails", "probe_unknown", "probe_nan", "probe_contradicts", "reread_fails", "plan_fails", "plan_refused", "plan_too_wide", "deploy_takes_time", "throttled", "rejected", "never_arrives", "lands_late",
	"lands_very_late", "conflict", "hand_before_call", "hand_while_watched", "reply_lost", "slow_change", "fails_inside", "read_fails",
	"read_unclear", "look_up_fails", "pager_fails", "pager_reply_lost", "pager_limits", "pager_down", "slack_fails",
	"crash_before_store", "crash_after_store", "crash_in_call", "crash_after_call", "crash_elsewhere", "killed_while_frozen",
	"freeze_short", "freeze_long", "sleep_before_call", "store_fails", "store_down", "clock_forward", "clock_back", "hand_any_time", "press_pause",
	"press_release", "reload", "false_resolve", "merged", "acknowledged", "stop_file", "no_answer",
	"guards_unread", "said_before_call", "sleep_before_plan", "hint_twice", "never_clear", "reads_old", "plan_panics", "hand_while_asked", "grouped",
}

// rates gives, of a thousand chances, how many a fault takes in a seed that has it: what has many chances takes few of them.
var rates = [faults]int{
	deliveredTwice: 400, deliveredLate: 300, deliveredOutOfOrder: 300, acceptReplyLost: 150, hintLost: 300, staleHint: 1000,
	probeSilent: 60, probeFails: 250, probeUnknown: 500, probeNaN: 250, probeContradicts: 300, rereadFails: 350, planFails: 500, planRefused: 500,
	planTooWide: 300, deployTakesTime: 600, throttled: 600, rejected: 250, neverArrives: 300, landsLate: 350, landsVeryLate: 420, conflict: 600, handBeforeCall: 320,
	handWhileWatched: 90, replyLost: 400, slowChange: 500, failsInside: 420, readFails: 150, readUnclear: 150, lookUpFails: 300,
	pagerFails: 150, pagerReplyLost: 150, pagerLimits: 100, pagerDown: 1000, slackFails: 400,
	crashBeforeStore: 12, crashAfterStore: 12, crashInCall: 240, crashAfterCall: 240, crashElsewhere: 1000, killedWhileFrozen: 400,
	freezeShort: 15, freezeLong: 10, sleepBeforeCall: 600, storeFails: 50, storeDown: 1000, clockForward: 1000, clockBack: 1000, handAnyTime: 1000,
	pressPause: 1000, pressRelease: 1000, reload: 1000, falseResolve: 500, merged: 1000, acknowledged: 400,
	stopFilePressed: 1000, noAnswer: 1000, guardsUnread: 200, saidBeforeCall: 400, sleepBeforePlan: 400, hintTwice: 60, neverClear: 500, readsOld: 400,
	planPanics: 200, handWhileAsked: 40, grouped: 500,
}

// seldom are the faults that a seed does not often give an occasion to: they are chosen more often.
var seldom = []fault{
	planRefused, planRefused, planFails, noAnswer, landsVeryLate, failsInside, reload, reload, reload, crashAfterCall, deliveredLate, conflict, conflict,
	throttled, handBeforeCall, slackFails, sleepBeforeCall, sleepBeforeCall, storeFails, noAnswer, noAnswer, crashInCall, neverArrives, rejected,
	saidBeforeCall, saidBeforeCall, saidBeforeCall, sleepBeforePlan, grouped, hintTwice, guardsUnread, neverClear, readsOld, planPanics,
	replyLost, landsVeryLate, landsVeryLate, deployTakesTime, failsInside, crashAfterCall, handWhileWatched, noAnswer, noAnswer,
}

// drawFaults chooses what can go wrong in a seed: in some nothing, in most a few things, in some a lot.
func drawFaults(d *dice) (chosen [faults]int) {
	n := pick(d, 0, 0, 1, 2, 4, 6, 9, 14, 20)
	for range n {
		f := fault(d.IntN(int(faults)))
		if d.chance(400) {
			f = pick(d, seldom...)
		}
		chosen[f] = rates[f]
	}
	if chosen[failsInside] > 0 {
		chosen[slowChange] = rates[slowChange]
	}
	if chosen[landsVeryLate] > 0 {
		chosen[landsLate] = rates[landsLate]
	}
	if chosen[crashAfterCall] > 0 && d.chance(500) {
		chosen[landsLate] = rates[landsLate]
	}
	if chosen[readsOld] > 0 {
		chosen[slowChange], chosen[replyLost] = rates[slowChange], rates[replyLost]
	}
	if chosen[killedWhileFrozen] > 0 {
		chosen[freezeLong] = rates[freezeLong]
	}
	return chosen
}

// strikes draws whether a fault happens here.
func (s *sim) strikes(f fault) bool {
	if s.still || s.chosen[f] == 0 || !s.luck.chance(s.chosen[f]) {
		return false
	}
	s.say("fault: %s", faultNames[f])
	s.reached.faults[f] = true
	return true
}

// has tells of the faults that are no matter of a single call whether the seed has them.
func (s *sim) has(f fault) bool { return s.chosen[f] > 0 }

// happens enters a fault that the plot has brought about.
func (s *sim) happens(f fault) {
	s.say("fault: %s", faultNames[f])
	s.reached.faults[f] = true
}

// latest is how late a call may land.
func (s *sim) latest() time.Duration {
	if s.strikes(landsVeryLate) {
		return 3 * time.Minute
	}
	return usuallyWithin
}

// usuallyWithin is how late a call lands, save for those that land very late.
const usuallyWithin = 4 * time.Second
