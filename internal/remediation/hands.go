package remediation

import (
	"slices"

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
