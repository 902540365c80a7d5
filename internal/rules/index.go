package rules

import "slices"

// pair is a label with a value.
type pair struct{ name, value string }

// index finds the rules of an alert without looking at the others. Each rule is filed under the one label whose values it accepts are
// the rarest among all rules; an alert has one value for it, so that a rule comes up at most once. Rules that accept no few known values
// of any label are the residue, and are tried for every alert. A rule without matchers is for no alert: only people start it.
type index struct {
	filed    map[string]map[string][]int32 // by name, by value: most labels of an alert file no rule at all
	residue  []int32
	matchers [][]matcher // by rule
}

func newIndex(rules [][]matcher) *index {
	ix := &index{filed: map[string]map[string][]int32{}, matchers: rules}
	frequency := map[pair]int{}
	for _, matchers := range rules {
		for _, m := range matchers {
			for _, literal := range m.literals {
				frequency[pair{m.Name, literal}]++
			}
		}
	}
	for i, matchers := range rules {
		if len(matchers) == 0 {
			continue
		}
		ix.file(int32(i), matchers, frequency) // a rules file of 4 MiB holds fewer than fit
	}
	return ix
}

func (ix *index) file(rule int32, matchers []matcher, frequency map[pair]int) {
	var best *matcher
	least := 0
	for i := range matchers {
		m := &matchers[i]
		if !m.narrow() {
			continue
		}
		total := 0
		for _, literal := range m.literals {
			total += frequency[pair{m.Name, literal}]
		}
		if best == nil || total < least {
			best, least = m, total
		}
	}
	if best == nil {
		ix.residue = append(ix.residue, rule)
		return
	}
	values := ix.filed[best.Name]
	if values == nil {
		values = map[string][]int32{}
		ix.filed[best.Name] = values
	}
	for _, literal := range best.literals {
		values[literal] = append(values[literal], rule)
	}
}

// match appends the matching rules to dst, in order.
func (ix *index) match(dst []int32, labels map[string]string) []int32 {
	for name, value := range labels {
		if values, ok := ix.filed[name]; ok {
			dst = ix.try(dst, values[value], labels)
		}
	}
	dst = ix.try(dst, ix.residue, labels)
	slices.Sort(dst)
	return dst
}

func (ix *index) try(dst, rules []int32, labels map[string]string) []int32 {
	for _, rule := range rules {
		if matchesAll(ix.matchers[rule], labels) {
			dst = append(dst, rule)
		}
	}
	return dst
}
