package guard

import "slices"

// Agreement is what the replicas that work say of the rules they go by.
type Agreement struct {
	Own     string   // hash of the rules the run is judged by
	Current string   // the hash declared current, empty if none was
	Live    []string // hashes of the replicas that are alive
}

// disagreeing: replicas that go by different rules would decide one alert in two ways. A replica whose rules are not known differs.
func disagreeing(_ Limits, s Snapshot) *Refusal {
	r := s.Rules
	differ := slices.ContainsFunc(r.Live, func(hash string) bool { return hash == "" || hash != r.Own })
	switch {
	case !differ, r.Current != "" && r.Current == r.Own:
		return nil
	case r.Current != "":
		return Refuse(RulesDiffer, "this replica goes by the rules %.12s, and %.12s are declared current", r.Own, r.Current)
	default:
		return Refuse(RulesDiffer, "the replicas go by different rules; nothing is done until they agree or `remediator reload --current` says which count")
	}
}

// Interrupts judges what may be said, or begin, between an intent and its call: the stop button, a freeze, and that the alert is over.
func Interrupts(l Limits, s Snapshot) *Refusal {
	for _, judge := range []func(Limits, Snapshot) *Refusal{paused, frozen, ended} {
		if r := judge(l, s); r != nil {
			return r
		}
	}
	return nil
}

// Waits judges what only a human's word ends: the stop button, and replicas that disagree. Runs refused for it are judged again after that.
func Waits(s Snapshot) *Refusal {
	if r := paused(Limits{}, s); r != nil {
		return r
	}
	return disagreeing(Limits{}, s)
}
