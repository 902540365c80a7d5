package connect

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What other people have written (errors of systems, alerts, lines of logs, names) is shown by one of two: Line, which makes it harmless, and
// Scrub, which also hides what looks like a secret. What may hold a secret takes Scrub; what is short by its nature, or names what has to be
// found again, takes Line.

// Line makes a text from outside harmless beside our own words: one line of at most so many characters, the mark of a cut included. White
// space of any kind is one space between two words; what is not seen is not there: control and format characters (terminals obey the ones,
// the others turn or part what is read), private ones, and bytes that are no text.
func Line(text string, most int) string { return cut(visible(text, -1), most) }

// visible is a text on one line, with what is not seen left out (-1) or replaced.
func visible(text string, unseen rune) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsGraphic(r) && r != unicode.ReplacementChar {
			return r
		}
		return unseen
	}, text)), " ")
}

// cut bounds a text to so many characters, the mark of the cut included.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:max(0, most-1)]) + "…"
	}
	return text
}

// scrubbed bounds how much of a text is looked at: what follows is never shown.
const scrubbed = 16 << 10

// secretForms are what secrets look like in other people's text, each with what is left of it. The order matters: a whole key, header or
// address goes before its parts could be told apart. The tokens' prefixes are those that their vendors document for secret scanning.
var secretForms = []struct {
	form *regexp.Regexp
	left string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*-----|$)`), hidden},
	{regexp.MustCompile(`(?i)\b(mongodb(?:\+srv)?|rediss?|postgres(?:ql)?|mysql|amqps?)://[^\s"'<>]+`), "$1://" + hidden},
	{regexp.MustCompile(`://[^\s/]+@`), "://" + hidden + "@"},
	{regexp.MustCompile(`(?i)\b(authorization|cookie|x-api-key)(["']?\s*[:=]\s*["']?)(?:(?:basic|bearer|digest|token)\s+)?[^\s"',]+`), "$1$2" + hidden},
	{regexp.MustCompile(`(?i)\b((?:(?:bearer|basic)\s+)+)[a-z0-9._~+/=-]{6,}`), "${1}" + hidden},
	{regexp.MustCompile(`\beyJ(?:[\w-]{5,}\.[\w-]|[\w-]{12})[\w.-]*`), hidden},
	{regexp.MustCompile(`\b(?:(?:sk|rk|pk|whsec|gh[a-z]|glpat|sntry[a-z]*|xox[a-z])[_-]|github_pat_|npm_|ya29\.|AIza|AKIA|SG\.)[\w.-]{6,}`), hidden},
	{regexp.MustCompile(`(?i)((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|session[_-]?id|otp)["']?\s*[:=]\s*)` +
		`(?:"[^"]*"?|'[^']*'?|[^\s"',;&]+)`), "${1}" + hidden},
	{regexp.MustCompile(`[\w.!#$%&*+/=?^{|}~-]+@[\w-]+(?:\.[\w-]+)+`), "[email]"},
	{regexp.MustCompile(`\b[\w+-]{40,}={0,2}`), hidden},
	{regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`), "[number]"}, // as long as a card's
}

// Scrub is Line without what looks like a secret (tokens, keys, the user part of addresses, database URIs), an e-mail address or the number
// of a card. It errs on the side of taking too much, and knows common forms only: what is told of a text stays little.
func Scrub(text string, most int) string {
	if len(text) > scrubbed {
		text = text[:scrubbed]
		text = text[:max(0, strings.LastIndexFunc(text, unicode.IsSpace))] // no half secret
	}
	whole, parted := visible(text, -1), visible(text, ' ')
	shown := mask(whole)
	if whole != parted {
		shown = common(shown, mask(parted))
	}
	return cut(shown, most)
}

func mask(text string) string {
	for _, s := range secretForms {
		text = s.form.ReplaceAllString(text, s.left)
	}
	return text
}

// common is what may be shown of a text with characters that are not seen. They may stand inside a secret, which is known when they are left
// out, or at its edge, where it is known when they part words: if the two readings hide different things, only words of both are shown.
func common(whole, parted string) string {
	if strings.ReplaceAll(whole, " ", "") == strings.ReplaceAll(parted, " ", "") {
		return whole
	}
	words, both := strings.Fields(whole), strings.Fields(parted)
	for i, word := range words {
		if !slices.Contains(both, word) {
			words[i] = hidden
		}
	}
	return strings.Join(words, " ")
}
