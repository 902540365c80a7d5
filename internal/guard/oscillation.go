package guard

// oscillating: two runs that undo each other's acts would go on for ever.
func oscillating(l Limits, s Snapshot) *Refusal {
	if !s.FirstAct {
		return nil
	}
	for _, a := range s.Acts {
		if a.Target != s.Target || a.Run == s.Run || s.Now.Sub(a.At) >= l.Inverse {
			continue
		}
		if key, inverse := s.Act.takesBack(a); inverse {
			return Refuse(Oscillation, "it would set %s from %s back to %s, which run %s changed %s ago", key, s.Act.From[key], s.Act.To[key], a.Run, s.ago(a))
		}
	}
	return nil
}

// takesBack names the first key, in order, that the act would set back to what it was before the other one.
func (a Act) takesBack(other Act) (key string, inverse bool) {
	for k, to := range a.To {
		from, known := other.From[k]
		if known && from == to && other.To[k] == a.From[k] && from != other.To[k] && (!inverse || k < key) {
			key, inverse = k, true
		}
	}
	return key, inverse
}

// Changed gives the keys in which two states differ: the From and To of an act.
func Changed(before, after map[string]string) (from, to map[string]string) {
	from, to = map[string]string{}, map[string]string{}
	for k, v := range after {
		if before[k] != v {
			from[k], to[k] = before[k], v
		}
	}
	return from, to
}
