package cloudrun

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
)

// What a revision must have shown to be gone back to.
const (
	servingShare   = 0.90 // of the service's requests in a period: it served, and was not merely tried
	healthyErrors  = 0.05 // most 5xx among the requests while it served
	quietShare     = 0.10 // of the service's usual requests: in a period with fewer, those that a tag brings may be all there are
	defaultRequest = 20   // requests while it served, unless the rule says otherwise
	defaultSpan    = 72 * time.Hour
)

// record is all that the judgement about revisions rests on.
type record struct {
	Service   *runpb.Service
	Revisions []*runpb.Revision // of all pages, in any order
	History   history
	Least     int64 // requests a destination must have carried
}

func (r record) find(name string) *runpb.Revision {
	for _, rev := range r.Revisions {
		if short(rev.GetName()) == name {
			return rev
		}
	}
	return nil
}

// root follows copies made here back to the deploy they came from: a restart is not a deploy.
func (r record) root(rev *runpb.Revision) *runpb.Revision {
	for range r.Revisions {
		base, ok := madeByUs(rev)
		next := r.find(base)
		if !ok || next == nil {
			break
		}
		rev = next
	}
	return rev
}

// candidate is a revision judged as a destination.
type candidate struct {
	Name     string
	Rejected string // why not; "" if it is legal
	Evidence string // one sentence, if it is legal
	last     time.Time
	created  time.Time
}

// candidates judges every revision but the serving one, the one that served last first. What really carried the service last is a
// better guide than the order of creation: a revision may have been created and left again.
func (r record) candidates(serving string) []candidate {
	current := r.find(serving)
	if current == nil {
		return nil
	}
	var out []candidate
	for _, rev := range r.Revisions {
		if short(rev.GetName()) != serving {
			out = append(out, r.judge(rev, current))
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(b.last.Compare(a.last), b.created.Compare(a.created), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// previous is the first legal candidate; without one, the reasons.
func (r record) previous(serving string) (candidate, []string) {
	var reasons []string
	for _, c := range r.candidates(serving) {
		if c.Rejected == "" {
			return c, nil
		}
		reasons = append(reasons, c.Name+" "+c.Rejected)
	}
	return candidate{}, reasons
}

// predecessor is what carried the service last before the code that serves did, fit to be gone back to or not; "" if nothing is known to have.
func (r record) predecessor(serving string) string {
	root := r.root(r.find(serving))
	for _, c := range r.candidates(serving) {
		if !c.last.IsZero() && r.root(r.find(c.Name)) != root {
			return c.Name
		}
	}
	return ""
}

func (r record) judge(rev, current *runpb.Revision) candidate {
	name := short(rev.GetName())
	carried := r.carried(name)
	c := candidate{Name: name, last: carried.to, created: rev.GetCreateTime().AsTime()}
	switch {
	case rev.GetDeleteTime() != nil:
		c.Rejected = "is being deleted"
	case !ready(rev):
		c.Rejected = "is not ready"
	case r.root(rev) == r.root(current):
		c.Rejected = "is a copy of the same code"
	case slices.Contains(knownBad(r.Service), name) || slices.Contains(knownBad(r.Service), short(r.root(rev).GetName())):
		c.Rejected = "was rolled back from before"
	case !c.created.Before(r.root(current).GetCreateTime().AsTime()):
		c.Rejected = "is newer than what serves"
	default:
		c.Rejected, c.Evidence = carried.verdict(name, r.Least)
	}
	if older := r.leftFor(rev); c.Rejected == "" && older != "" {
		c.Rejected, c.Evidence = "was left for the older "+older, ""
	}
	return c
}

// leftFor is the older revision that led after this one did last, "" if a newer one followed. Whoever went back from it had a reason; and
// a revision that a tag alone reaches leads in quiet hours, between two times of the one that serves. In such hours themselves nobody follows.
func (r record) leftFor(rev *runpb.Revision) string {
	root, usual := r.root(rev), r.History.usual()
	var next *runpb.Revision
	for _, b := range r.History.Buckets {
		leader := r.find(b.leader())
		switch {
		case leader == nil:
		case r.root(leader) == root:
			next = nil
		case next == nil && float64(b.total()) >= usual:
			next = leader
		}
	}
	if next == nil || !r.root(next).GetCreateTime().AsTime().Before(root.GetCreateTime().AsTime()) {
		return ""
	}
	return short(next.GetName())
}

// tagged reports that the revision has an address of its own, by which it is asked without carrying the service.
func (r record) tagged(revision string) bool {
	return slices.ContainsFunc(r.Service.GetTraffic(), func(t *runpb.TrafficTarget) bool {
		return t.GetTag() != "" && short(t.GetRevision()) == revision
	})
}

// carriage sums the periods in which a revision carried the service.
type carriage struct {
	count
	from, to    time.Time
	all, seenIn int64 // requests of the service meanwhile; requests of the revision at any time
}

func (r record) carried(revision string) carriage {
	var c carriage
	least := 0.0
	if r.tagged(revision) {
		least = r.History.usual()
	}
	for _, b := range r.History.Buckets {
		n := b.Revisions[revision]
		c.seenIn += n.Requests
		if b.share(revision) < servingShare || float64(b.total()) < least {
			continue
		}
		if c.from.IsZero() {
			c.from = b.Start
		}
		c.to = b.End
		c.all += b.total()
		c.add(n)
	}
	return c
}

func (c carriage) verdict(name string, least int64) (rejected, evidence string) {
	switch {
	case c.seenIn == 0:
		return "carried no traffic in the time looked back on", ""
	case c.Requests == 0:
		return fmt.Sprintf("never carried %d %% of the traffic", int(servingShare*100)), ""
	case c.Requests < least:
		return fmt.Sprintf("carried only %d requests, %d are needed", c.Requests, least), ""
	case c.errorRatio() > healthyErrors:
		return fmt.Sprintf("had %s %% errors while it served", percent(c.errorRatio())), ""
	}
	return "", fmt.Sprintf("%s was ready and carried %s %% of %s requests between %s and %s with %s %% errors", name,
		percent(float64(c.Requests)/float64(c.all)), thousands(c.all), clock(c.from), clock(c.to), percent(c.errorRatio()))
}

func (c count) errorRatio() float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(c.Errors) / float64(c.Requests)
}

// percent shows a ratio with at most one decimal, and never rounds a remainder away to nothing or everything.
func percent(ratio float64) string {
	switch {
	case ratio > 0 && ratio < 0.001:
		return "under 0.1"
	case ratio < 1 && ratio > 0.999:
		return "over 99.9"
	}
	return strings.TrimSuffix(strconv.FormatFloat(ratio*100, 'f', 1, 64), ".0")
}

// thousands groups digits: 4 812.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
