package mongodb

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// group is what operations of one shape on one collection come to.
type group struct {
	namespace, shape string
	count            int64
	total            time.Duration
}

// groups are in no order; the zero value is none.
type groups []group

func (g *groups) add(namespace, shape string, took time.Duration) {
	i := slices.IndexFunc(*g, func(x group) bool { return x.namespace == namespace && x.shape == shape })
	if i < 0 {
		*g = append(*g, group{namespace: namespace, shape: shape})
		i = len(*g) - 1
	}
	(*g)[i].count++
	(*g)[i].total += took
}

// commonest is the one with the most operations; costliest the one that took the most time in all. Ties are broken by the other measure,
// then by name, so that the same operations give the same answer.
func (g groups) commonest() (group, bool) {
	return g.first(func(a, b group) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(b.total, a.total)) })
}

func (g groups) costliest() (group, bool) {
	return g.first(func(a, b group) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(b.count, a.count)) })
}

func (g groups) first(order func(a, b group) int) (group, bool) {
	if len(g) == 0 {
		return group{}, false
	}
	return slices.MinFunc(g, func(a, b group) int {
		return cmp.Or(order(a, b), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.shape, b.shape))
	}), true
}

// percentile is the nearest rank: the smallest value that so many of all are not above. 0 of none.
func percentile(values []time.Duration, part float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}
