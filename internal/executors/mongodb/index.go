package mongodb

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// mostIndexFields bounds a hint: longer indexes seldom help.
const mostIndexFields = 6

// indexFields are the fields of an index that would serve a command: those compared for equality, then those sorted by, then those compared
// by range (https://www.mongodb.com/docs/manual/tutorial/equality-sort-range-guideline/). None where an index is of no use or cannot be told.
func indexFields(command bson.Raw) []string {
	filter, sort := asked(command)
	var f fields
	f.collect(filter)
	if f.unclear {
		return nil
	}
	var all []string
	for _, name := range slices.Concat(f.equal, sorted(sort), f.ranged) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if slices.Contains(all, "_id") { // has an index already
		return nil
	}
	return all[:min(len(all), mostIndexFields)]
}

// asked finds what a command looks for and sorts by.
func asked(command bson.Raw) (filter, sort bson.Raw) {
	for _, name := range []string{"filter", "query", "q"} {
		if d, ok := command.Lookup(name).DocumentOK(); ok && filter == nil {
			filter = d
		}
	}
	sort, _ = command.Lookup("sort").DocumentOK()
	if stages, ok := command.Lookup("pipeline").ArrayOK(); ok {
		filter, sort = askedByStages(stages)
	}
	return filter, sort
}

// askedByStages looks at the stages that an index can serve: a $match at the beginning and a $sort right after it.
func askedByStages(stages bson.RawArray) (filter, sort bson.Raw) {
	values, err := stages.Values()
	if err != nil {
		return nil, nil
	}
	for i, v := range values {
		stage, _ := v.DocumentOK()
		if match, ok := stage.Lookup("$match").DocumentOK(); ok && i == 0 {
			filter = match
		} else if by, ok := stage.Lookup("$sort").DocumentOK(); ok && i <= 1 {
			sort = by
		} else {
			break
		}
	}
	return filter, sort
}

// fields are what a filter compares, and how.
type fields struct {
	equal, ranged []string
	unclear       bool
}

func (f *fields) collect(filter bson.Raw) {
	elements, err := filter.Elements()
	if err != nil {
		return
	}
	for _, e := range elements {
		name := e.Key()
		switch branches, isList := e.Value().ArrayOK(); {
		case name == "$and" && isList:
			f.branches(branches)
		case name == "$comment":
		case strings.HasPrefix(name, "$"): // $or, $text, $expr …: each needs an index of its own kind
			f.unclear = true
		case isValueInPath(name):
			f.unclear = true
		default:
			f.compare(clean(name), e.Value())
		}
	}
}

func (f *fields) branches(list bson.RawArray) {
	values, err := list.Values()
	if err != nil {
		return
	}
	for _, v := range values {
		if d, ok := v.DocumentOK(); ok {
			f.collect(d)
		}
	}
}

// compare sorts a field by how it is compared. What excludes ($ne, $nin, $exists, $not) is served by no index worth the name.
func (f *fields) compare(name string, v bson.RawValue) {
	d, isDocument := v.DocumentOK()
	elements, err := d.Elements()
	if !isDocument || err != nil || len(elements) == 0 || !strings.HasPrefix(elements[0].Key(), "$") {
		f.equal = append(f.equal, name)
		return
	}
	for _, e := range elements {
		switch e.Key() {
		case "$eq", "$in", "$all":
			f.equal = append(f.equal, name)
		case "$gt", "$gte", "$lt", "$lte", "$regex":
			f.ranged = append(f.ranged, name)
		}
	}
}

func sorted(sort bson.Raw) []string {
	elements, err := sort.Elements()
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range elements {
		if !strings.HasPrefix(e.Key(), "$") && !isValueInPath(e.Key()) {
			names = append(names, clean(e.Key()))
		}
	}
	return names
}

func isValueInPath(name string) bool { return path(name) != clean(name) }
