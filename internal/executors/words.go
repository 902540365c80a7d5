package executors

import (
	"strings"
	"unicode"
)

// Words is a text from outside as a fact or a note may hold it: on one line, without control or invisible characters, and of at most so
// many bytes, the mark of a cut beside them.
func Words(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
