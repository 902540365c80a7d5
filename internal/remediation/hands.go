package remediation

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// holds are the words of people, other than us, about whose hand an incident is in. While it is not known who we are, an acknowledgement
// counts as a person's, and is taken back by Match where it was ours.
func (e *Engine) holds(source string, d sources.Delivery) []Hold {
	var all []Hold
	for _, h := range d.Holds {
		if h.Lifted || !e.isUs(source, h.ByID) {
			all = append(all, holdOf(h))
		}
	}
	return all
}

func holdOf(h sources.Hold) Hold {
	return Hold{
		IncidentID: h.IncidentID, IncidentKey: h.IncidentKey, By: first(oneLine(h.By), first(h.ByID, "a person")), At: h.At, Lifted: h.Lifted,
	}
}

func (e *Engine) isUs(source, id string) bool {
	us, known := e.selves.Load(source)
	return known && id != "" && us == id
}

// unsure reports whether the delivery holds an acknowledgement that may be our own: a server that has just started may hear of what it
// did in its life before.
func (e *Engine) unsure(set *rules.Set, source string, d sources.Delivery) bool {
	_, can := set.Sources[source].(sources.Self)
	_, known := e.selves.Load(source)
	return can && !known && slices.ContainsFunc(d.Holds, func(h sources.Hold) bool { return !h.Lifted && h.ByID != "" })
}

// retracted takes back what was stored of our own acknowledgements before it was known that they are ours. A later word of a person stays.
func (e *Engine) retracted(source string, d sources.Delivery) []Hold {
	var all []Hold
	for _, h := range d.Holds {
		if !h.Lifted && e.isUs(source, h.ByID) {
			h.Lifted = true
			all = append(all, holdOf(h))
		}
	}
	return all
}

// knowsSelves reports whether it is known by which name each source tells of our own acts.
func (e *Engine) knowsSelves(set *rules.Set) bool {
	for name, source := range set.Sources {
		if _, can := source.(sources.Self); !can {
			continue
		}
		if _, known := e.selves.Load(name); !known {
			return false
		}
	}
	return true
}

// learnSelves asks the sources that know us by a name for it, once and then every learnEvery until all have said it: the word that comes
// back of an acknowledgement made by a former process must not pass for a person's.
func (e *Engine) learnSelves(ctx context.Context) {
	set, now := e.Rules.Current(), e.Now()
	if e.knowsSelves(set) || now.Sub(time.UnixMicro(e.learned.Load())) < e.scale(learnEvery) {
		return
	}
	e.learned.Store(now.UnixMicro())
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(set.Sources)) {
		if _, known := e.selves.Load(name); !known {
			e.learnSelf(bounded, set, name)
		}
	}
}

const learnEvery = time.Minute
