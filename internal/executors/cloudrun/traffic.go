package cloudrun

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"
)

// target is one traffic entry of a service's desired state. An empty revision follows the latest ready one.
type target struct {
	Revision string `json:"revision,omitempty"`
	Percent  int32  `json:"percent"`
	Tag      string `json:"tag,omitempty"`
}

const (
	toLatest   = runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
	toRevision = runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
)

// targetsOf gives the desired traffic in a comparable form: without empty entries, shares of one revision joined, sorted. A service
// that says nothing sends everything to its latest ready revision.
func targetsOf(s *runpb.Service) []target {
	shares, tagged := map[string]int32{}, []target{}
	for _, t := range s.GetTraffic() {
		revision := short(t.GetRevision())
		if t.GetType() == toLatest {
			revision = ""
		}
		shares[revision] += t.GetPercent()
		if t.GetTag() != "" {
			tagged = append(tagged, target{Revision: revision, Tag: t.GetTag()})
		}
	}
	if len(s.GetTraffic()) == 0 {
		shares[""] = 100
	}
	for revision, percent := range shares {
		if percent > 0 {
			tagged = append(tagged, target{Revision: revision, Percent: percent})
		}
	}
	slices.SortFunc(tagged, func(a, b target) int {
		return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Tag, b.Tag))
	})
	return tagged
}

// routeAll sends everything to a revision ("" is the latest one). Tags keep their address and carry no share.
func routeAll(now []target, revision string) []target {
	out := []target{{Revision: revision, Percent: 100}}
	for _, t := range now {
		if t.Tag != "" {
			out = append(out, target{Revision: t.Revision, Tag: t.Tag})
		}
	}
	return out
}

// messages is the API's form of desired traffic.
func messages(targets []target) []*runpb.TrafficTarget {
	out := make([]*runpb.TrafficTarget, 0, len(targets))
	for _, t := range targets {
		m := &runpb.TrafficTarget{Type: toRevision, Revision: t.Revision, Percent: t.Percent, Tag: t.Tag}
		if t.Revision == "" {
			m.Type = toLatest
		}
		out = append(out, m)
	}
	return out
}

// pin gives the revision that desired traffic names for itself alone; ok is false if it follows the latest one or is split.
func pin(targets []target) (revision string, ok bool) {
	for _, t := range targets {
		if t.Percent == 100 {
			return t.Revision, t.Revision != ""
		}
	}
	return "", false
}

// share is what a revision carries in fact.
type share struct {
	Revision string
	Percent  int32
}

// servingShares reads who carries traffic now, from the observed statuses, greatest share first. Tags alone carry nothing.
func servingShares(s *runpb.Service) []share {
	sum := map[string]int32{}
	for _, t := range s.GetTrafficStatuses() {
		sum[short(t.GetRevision())] += t.GetPercent()
	}
	return shares(s, sum)
}

// wishedShares is who carries traffic once the service is as it was told.
func wishedShares(s *runpb.Service) []share {
	sum := map[string]int32{}
	for _, t := range targetsOf(s) {
		sum[t.Revision] += t.Percent
	}
	return shares(s, sum)
}

// shares lists percents by revision; "" stands for the latest ready one.
func shares(s *runpb.Service, sum map[string]int32) []share {
	sum[short(s.GetLatestReadyRevision())] += sum[""]
	delete(sum, "")
	maps.DeleteFunc(sum, func(_ string, percent int32) bool { return percent <= 0 })
	var out []share
	for revision, percent := range sum {
		out = append(out, share{revision, percent})
	}
	slices.SortFunc(out, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Revision, b.Revision))
	})
	return out
}

// soleServing is the revision that carries everything; false if none or several do.
func soleServing(s *runpb.Service) (string, bool) {
	shares := servingShares(s)
	if len(shares) != 1 {
		return "", false
	}
	return shares[0].Revision, true
}

// split reports that two revisions share the traffic, in fact or as desired.
func split(s *runpb.Service) bool {
	wanted := 0
	for _, t := range targetsOf(s) {
		if t.Percent > 0 {
			wanted++
		}
	}
	return wanted > 1 || len(servingShares(s)) > 1
}

// contradiction says in what the service's one answer speaks against itself, "" if it does not. A service that is under way, or says that
// it could not follow what it was told, explains the difference; one that calls itself settled does not.
func contradiction(s *runpb.Service) string {
	if s.GetReconciling() {
		return ""
	}
	if seen, is := s.GetObservedGeneration(), s.GetGeneration(); seen != is {
		return fmt.Sprintf("it is settled, and what it shows is of generation %d, not of %d", seen, is)
	}
	observed := servingShares(s)
	if len(observed) == 0 || s.GetTerminalCondition().GetState() == runpb.Condition_CONDITION_FAILED {
		return ""
	}
	if wished := wishedShares(s); !slices.Equal(wished, observed) {
		return fmt.Sprintf("it is settled, and was told %s, but shows %s", describe(wished), describe(observed))
	}
	return ""
}

// describeShares says who serves: "api-7 100 %" or "api-7 90 %, api-6 10 %".
func describeShares(s *runpb.Service) string { return describe(servingShares(s)) }

func describe(all []share) string {
	var parts []string
	for _, sh := range all {
		parts = append(parts, fmt.Sprintf("%s %d %%", sh.Revision, sh.Percent))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// describeAllocation says how the desired traffic is given: what decides whether the next deploy will serve.
func describeAllocation(targets []target) string {
	var parts []string
	for _, t := range targets {
		if t.Percent > 0 {
			parts = append(parts, cmp.Or(t.Revision, "latest"))
		}
	}
	slices.Sort(parts)
	if len(parts) == 1 && parts[0] != "latest" {
		return "pinned"
	}
	return strings.Join(parts, "+")
}
