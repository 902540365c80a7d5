package guard

import (
	"slices"
	"time"
)

// Limits are what a rule's file says of its guards. The zero value limits nothing and is for acts that were counted already, such as the
// same rung tried again.
type Limits struct {
	Rule     []Window      `json:"rule"`     // acts of the rule, on any target
	Target   []Window      `json:"target"`   // acts of any rule on the target
	Fleet    []Window      `json:"fleet"`    // acts of any rule anywhere
	Cooldown time.Duration `json:"cooldown"` // least time between two acting runs on the target
	Settle   time.Duration `json:"settle"`   // how long after an act an alert may still tell of the time before it
	Inverse  time.Duration `json:"inverse"`  // for how long no other run takes an act back
	Storm    StormLimit    `json:"storm"`
	Freezes  []Freeze      `json:"-"`
}

// Act is one debit: an action that a run was about to make. From and To hold what it changes, key by key.
type Act struct {
	Run    string            `json:"run"`
	Rule   string            `json:"rule"`
	Target string            `json:"target"`
	At     time.Time         `json:"at"`
	Kind   string            `json:"kind,omitempty"`
	From   map[string]string `json:"from,omitempty"`
	To     map[string]string `json:"to,omitempty"`
	Ends   bool              `json:"ends,omitempty"` // it ends what was made for a time, as was decided when that was made: nobody's change of mind
}

// Latch is an act after which no other of its kind is made on the target until a human has released it.
type Latch struct {
	Kind string    `json:"kind"`
	Run  string    `json:"run"`
	At   time.Time `json:"at"`
}

// Snapshot is what the shared guards judge: read under the same lock that the act is debited under.
type Snapshot struct {
	Now      time.Time
	Run      string
	Rule     string
	Target   string
	FirstAct bool      // cooldown, settling, oscillation and storm are judged at a run's first act only
	Auto     bool      // no human has approved this act
	Act      Act       // what is about to be done; From and To are empty before it is planned
	EndedAt  time.Time // when the alert resolved; zero while it fires, or where that does not matter
	HeldBy   string    // who has acknowledged the run's incident, empty if nobody
	LockedBy string    // the run that holds the target's lock, empty if none
	Pauses   []Pause   // all that are stored, and the file's
	Acts     []Act     // of the longest window at least, fleet-wide
	Breaker  string    // why the rule's breaker on the target is open, empty if it is closed
	Latch    *Latch    // of the act's kind on the target, nil if there is none
	Wants    []Want    // of all targets
	Released time.Time // when a human last ended a storm
	Rules    Agreement // of the replicas; the zero value is one process alone
}

// Shared judges what runs share. The first "no" is the answer; none hides behind another: the way is free exactly when each by itself
// would let the run through.
func Shared(l Limits, s Snapshot) *Refusal {
	for _, judge := range []func(Limits, Snapshot) *Refusal{
		paused, disagreeing, frozen, ended, held, locked, opened, latched, storming, cooling, spent, settling, oscillating,
	} {
		if r := judge(l, s); r != nil {
			return r
		}
	}
	return nil
}

func ended(_ Limits, s Snapshot) *Refusal {
	if s.EndedAt.IsZero() {
		return nil
	}
	return Refuse(NotFiring, "the alert resolved at %s", s.EndedAt.UTC().Format(time.RFC3339))
}

// held: a person who acknowledged is at it. What a human approved goes on.
func held(_ Limits, s Snapshot) *Refusal {
	if s.HeldBy == "" || !s.Auto {
		return nil
	}
	return Refuse(Held, "%s has acknowledged the incident: a person is at it", s.HeldBy)
}

func locked(_ Limits, s Snapshot) *Refusal {
	if s.LockedBy == "" || s.LockedBy == s.Run {
		return nil
	}
	return Refuse(TargetBusy, "run %s holds target %s", s.LockedBy, s.Target)
}

// latched: the run that closed the latch may go on with its own ladder.
func latched(_ Limits, s Snapshot) *Refusal {
	if s.Latch == nil || s.Latch.Run == s.Run {
		return nil
	}
	return Refuse(AwaitsRelease, "run %s made a %s on %s at %s; `remediator release --target %s` allows the next",
		s.Latch.Run, s.Latch.Kind, s.Target, s.Latch.At.UTC().Format(time.RFC3339), s.Target)
}

func opened(_ Limits, s Snapshot) *Refusal {
	if s.Breaker == "" {
		return nil
	}
	return Refuse(BreakerOpen, "the breaker of rule %s on %s is open: %s; `remediator release` closes it", s.Rule, s.Target, s.Breaker)
}

// cooling: the end of what was made for a time is no attempt at anything, so that nobody waits for what it may bring.
func cooling(l Limits, s Snapshot) *Refusal {
	if a, young := s.recent(l.Cooldown, func(a Act) bool { return !a.Ends }); young {
		return Refuse(Cooldown, "run %s set out to act on %s %s ago, less than the cooldown of %s", a.Run, s.Target, s.ago(a), l.Cooldown)
	}
	return nil
}

// settling: an alert looks back on a window of its own, and its metrics lag; so short after an act it may tell of the time before.
func settling(l Limits, s Snapshot) *Refusal {
	if a, young := s.recent(l.Settle, func(Act) bool { return true }); young {
		return Refuse(Settling, "run %s set out to act on %s %s ago; for %s an alert may still tell of the time before", a.Run, s.Target, s.ago(a), l.Settle)
	}
	return nil
}

// recent gives an act of another run on the target that counts and is less old than a wait which a run's first act has to keep.
func (s Snapshot) recent(wait time.Duration, counts func(Act) bool) (Act, bool) {
	if !s.FirstAct || wait <= 0 {
		return Act{}, false
	}
	i := slices.IndexFunc(s.Acts, func(a Act) bool {
		return a.Target == s.Target && a.Run != s.Run && s.Now.Sub(a.At) < wait && counts(a)
	})
	if i < 0 {
		return Act{}, false
	}
	return s.Acts[i], true
}

func (s Snapshot) ago(a Act) time.Duration { return s.Now.Sub(a.At).Round(time.Second) }
