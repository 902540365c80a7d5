package guard

// oscillating: two runs that undo each other's acts would go on for ever. What was made for a time and has ended may be made again.
func oscillating(l Limits, s Snapshot) *Refusal {
	if !s.FirstAct {
		return nil
	}
	for _, a := range s.Acts {
		if a.Ends || a.Target != s.Target || a.Run == s.Run || s.Now.Sub(a.At) >= l.Inverse {
			continue
		}
		if key, inverse := s.Act.takesBack(a); inverse {
			return Refuse(Oscillation, "it would set %s from %s back to %s, which run %s changed %s ago", key, s.Act.From[key], s.Act.To[key], a.Run, s.ago(a))
		}
	}
	return nil
}

// takesBack names the first key, in order, that the act would set back to what it was before the other one. A key that is not there has no
// value on either side.
func (a Act) takesBack(other Act) (key string, inverse bool) {
	for _, keys := range []map[string]string{a.From, a.To} {
		for k := range keys {
			from, to := a.From[k], a.To[k]
			if from != to && other.From[k] == to && other.To[k] == from && (!inverse || k < key) {
				key, inverse = k, true
			}
		}
	}
	return key, inverse
}

// Changed gives the keys in which two states differ, also by being in one of them only: the From and To of an act.
func Changed(before, after map[string]string) (from, to map[string]string) {
	from, to = map[string]string{}, map[string]string{}
	for _, keys := range []map[string]string{before, after} {
		for k := range keys {
			if before[k] != after[k] {
				from[k], to[k] = before[k], after[k]
			}
		}
	}
	return from, to
}
