package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/executors"
)

var targetField = regexp.MustCompile(`^\{\{\s*\.Target\.([A-Za-z]+)\s*\}\}`)

// filler fills the target into texts such as "{{ .Target.Health }}". Nothing but these names can stand in the braces: parameters are no
// programs, and no word of an alert can reach them. The zero Target only finds mistakes.
func filler(t executors.Target) func(string) (string, *misfit) {
	values := map[string]string{"Name": t.Name, "Health": t.Health, "Control": t.Control}
	return func(text string) (string, *misfit) {
		var filled strings.Builder
		rest := text
		for {
			before, after, found := strings.Cut(rest, "{{")
			filled.WriteString(before)
			if !found {
				return filled.String(), nil
			}
			offset := len([]rune(text)) - len([]rune(after)) - 2
			match := targetField.FindStringSubmatch("{{" + after)
			if match == nil {
				return "", &misfit{offset, "only names of the target can stand between {{ and }}", placeholders(values)}
			}
			value, known := values[match[1]]
			switch {
			case !known:
				return "", &misfit{offset, "a target has no " + match[1], suggest(match[1], slices.Sorted(maps.Keys(values)))}
			case value == "" && t.Name != "":
				return "", &misfit{offset, fmt.Sprintf("target %s declares no %s", t.Name, strings.ToLower(match[1])), ""}
			}
			filled.WriteString(value)
			rest = after[len(match[0])-2:]
		}
	}
}

// elsewhere lets stand-ins take the place of texts that are written exactly so.
func elsewhere(fill func(string) (string, *misfit), addresses map[string]string) func(string) (string, *misfit) {
	return func(text string) (string, *misfit) {
		filled, wrong := fill(text)
		if address, known := addresses[filled]; known {
			filled = address
		}
		return filled, wrong
	}
}

func placeholders(values map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		words = append(words, "{{ .Target."+name+" }}")
	}
	return "allowed: " + strings.Join(words, ", ")
}
