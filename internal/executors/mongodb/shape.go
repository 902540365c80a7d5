package mongodb

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Bounds of a shape: what is beyond them is an ellipsis.
const (
	longestShape = 240
	deepest      = 6
	widest       = 12
)

// verbs are the commands that shapes name; others go by the kind of operation.
var verbs = []string{
	"find", "aggregate", "count", "distinct", "findAndModify", "findandmodify", "update", "delete", "insert", "getMore", "bulkWrite",
	"createIndexes", "mapReduce", "mapreduce",
}

// shaped are the parts of a command that make its shape, and what each is called in it.
var shaped = []string{"filter", "query", "q", "pipeline", "sort", "key", "u", "update", "updates", "deletes"}

// shape is a command without its values: "find {filter: {status: ?}, sort: {created: -1}}". The same question asked with other values
// has the same shape.
func shape(operation string, command bson.Raw) string {
	elements, err := command.Elements()
	if err != nil {
		return clean(operation)
	}
	verb := operation
	var parts []string
	for i, e := range elements {
		name := e.Key()
		switch {
		case i == 0 && slices.Contains(verbs, name):
			verb = name
			if _, isName := e.Value().StringValueOK(); isName {
				continue
			}
		case !slices.Contains(shaped, name):
			continue
		}
		if slices.Contains(shaped, name) && !emptyDocument(e.Value()) {
			parts = append(parts, name+": "+render(e.Value(), 0, name == "sort"))
		}
	}
	if len(parts) == 0 {
		return clean(verb)
	}
	return bounded(clean(verb)+" {"+strings.Join(parts, ", ")+"}", longestShape)
}

func emptyDocument(v bson.RawValue) bool {
	d, ok := v.DocumentOK()
	return ok && len(d) <= 5
}

// render gives a value's structure. Only a sort's directions are kept: they are no data.
func render(v bson.RawValue, depth int, sort bool) string {
	if depth > deepest {
		return "…"
	}
	if d, ok := v.DocumentOK(); ok {
		return renderDocument(d, depth, sort)
	}
	if a, ok := v.ArrayOK(); ok {
		return renderArray(a, depth)
	}
	if n, ok := v.AsInt64OK(); ok && sort && (n == 1 || n == -1) {
		if n == 1 {
			return "1"
		}
		return "-1"
	}
	return "?"
}

func renderDocument(d bson.Raw, depth int, sort bool) string {
	elements, err := d.Elements()
	if err != nil {
		return "?"
	}
	var parts []string
	for i, e := range elements {
		if i == widest {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, path(e.Key())+": "+render(e.Value(), depth+1, sort || e.Key() == "$sort"))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// renderArray names each shape of its elements once, so that lists of different lengths are alike.
func renderArray(a bson.RawArray, depth int) string {
	values, err := a.Values()
	if err != nil {
		return "?"
	}
	var parts []string
	for _, v := range values {
		part := render(v, depth+1, false)
		if slices.Contains(parts, part) {
			continue
		}
		if len(parts) == widest {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, part)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// path is a field's name. Parts of it that are numbers or identifiers are values that somebody made names of.
func path(name string) string {
	parts := strings.Split(clean(name), ".")
	for i, p := range parts {
		if isValue(p) {
			parts[i] = "?"
		}
	}
	return strings.Join(parts, ".")
}

// isValue knows digits alone, and hexadecimal identifiers of 16 digits and more, such as object ids and UUIDs.
func isValue(part string) bool {
	digits, hex := 0, 0
	for _, r := range part {
		switch {
		case r >= '0' && r <= '9':
			digits++
			hex++
		case r >= 'a' && r <= 'f', r >= 'A' && r <= 'F', r == '-':
			hex++
		}
	}
	return part != "" && (digits == len(part) || len(part) >= 16 && hex == len(part) && digits > 0)
}
