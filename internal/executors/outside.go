package executors

import (
	"regexp"
	"strings"
	"unicode"
)

// credentials are what must not be carried from other systems' texts into notes: passwords in addresses, tokens by their schemes and
// prefixes, values of telling names, addresses of people, and numbers as long as a card's.
var credentials = []struct {
	found *regexp.Regexp
	as    string
}{
	{regexp.MustCompile(`://[^/\s@]+@`), "://[secret]@"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}`), "$1 [secret]"},
	{regexp.MustCompile(`(?i)\b((?:password|passwd|pwd|secret|token|api[_-]?key|authorization)["']?\s*[=:]\s*["']?)[^\s"',;&]+`), "${1}[secret]"},
	{regexp.MustCompile(`\b(?:sk|rk|pk|whsec|xox[a-z]|gh[a-z]|sntry[a-z]*|glpat)[_-][A-Za-z0-9_-]{6,}`), "[secret]"},
	{regexp.MustCompile(`\b(?:AKIA|AIza|eyJ)[A-Za-z0-9_-]{12,}[A-Za-z0-9_.-]*`), "[secret]"},
	{regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), "[address]"},
	{regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`), "[number]"},
}

// Outside makes a text of another system fit for facts and notes: one line without control characters, at most so many runes, and with
// what looks like a credential or names a person masked. The masks know common shapes only: what is told of a text stays little.
func Outside(text string, most int) string {
	if beyond := 16 * most; len(text) > beyond { // in bytes, so that a huge text costs no more than a long one
		text = text[:beyond]
	}
	line := strings.Join(strings.Fields(strings.Map(plain, strings.ToValidUTF8(text, ""))), " ")
	for _, c := range credentials {
		line = c.found.ReplaceAllString(line, c.as)
	}
	runes := []rune(line)
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	return string(runes)
}

// plain turns control and formatting characters into spaces: they end lines, colour terminals and reverse what is read.
func plain(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return ' '
	}
	return r
}
