package connect

import (
	"regexp"
	"strings"
	"unicode"
)

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
	{regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#"'<>]+@`), "${1}" + hidden + "@"},
	{regexp.MustCompile(`(?i)\b(authorization|cookie|x-api-key)(["']?\s*[:=]\s*["']?)(?:(?:basic|bearer|digest|token)\s+)?[^\s"',]+`), "$1$2" + hidden},
	{regexp.MustCompile(`(?i)\b(bearer)\s+[a-z0-9._~+/=-]{6,}`), "$1 " + hidden},
	{regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)*`), hidden},
	{regexp.MustCompile(`\b(?:(?:sk|rk|pk)_(?:live|test)_|whsec_|gh[pousr]_|github_pat_|glpat-|npm_|sntry[su]_|xox[abeprs]-|ya29\.|AIza|AKIA|SG\.)[\w.-]{8,}`), hidden},
	{regexp.MustCompile(`(?i)((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|session[_-]?id|otp)["']?\s*[:=]\s*)` +
		`(?:"[^"]*"?|'[^']*'?|[^\s"',;&})\[\]][^\s"',;&})\]]*)`), "${1}" + hidden},
	{regexp.MustCompile(`[\w.!#$%&*+/=?^{|}~-]+@[\w-]+(?:\.[\w-]+)+`), "[email]"},
	{regexp.MustCompile(`\b[\w+-]{40,}={0,2}`), hidden},
}

// Scrub makes a text from outside, such as a line of a log or the title of an issue, fit for facts and notes: one line of at most limit
// characters, without control characters and those that change the direction of writing, and without what looks like a secret (tokens,
// keys, the user part of addresses, database URIs) or an e-mail address. It errs on the side of taking too much.
func Scrub(text string, limit int) string {
	if len(text) > scrubbed {
		text = text[:scrubbed]
		text = text[:max(0, strings.LastIndexByte(text, ' '))] // no half secret
	}
	text = oneLine(text)
	for _, s := range secretForms {
		text = s.form.ReplaceAllString(text, s.left)
	}
	return shorten(text, limit)
}

// oneLine joins words by single spaces and leaves out what cannot be seen.
func oneLine(text string) string {
	visible := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case !unicode.IsGraphic(r) || r == unicode.ReplacementChar:
			return -1
		default:
			return r
		}
	}, text)
	return strings.Join(strings.Fields(visible), " ")
}

// shorten cuts a text to so many characters, the sign of the cut included.
func shorten(text string, limit int) string {
	if r := []rune(text); len(r) > limit {
		return string(r[:max(0, limit-1)]) + "…"
	}
	return text
}
