package store

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// escapeRune begins what stands for a byte that PostgreSQL keeps in no text: NUL, or one that is no UTF-8. Alert text is data and may
// hold anything. The rune is no character and never will be; where it occurs all the same, it stands for itself when doubled.
const escapeRune = '\U0010FFFF'

// escape gives each text one of its own that can be stored.
func escape(text string) string {
	if utf8.ValidString(text) && !strings.ContainsRune(text, 0) && !strings.ContainsRune(text, escapeRune) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == 0 || r == utf8.RuneError && size == 1:
			b.WriteRune(escapeRune)
			b.WriteString(strconv.FormatUint(uint64(text[0])+0x100, 16)[1:])
		case r == escapeRune:
			b.WriteRune(escapeRune)
			b.WriteRune(escapeRune)
		default:
			b.WriteRune(r)
		}
		text = text[size:]
	}
	return b.String()
}

// unescape gives back what escape was given.
func unescape(text string) string {
	if !strings.ContainsRune(text, escapeRune) {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, string(escapeRune))
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if rest, doubled := strings.CutPrefix(after, string(escapeRune)); doubled {
			b.WriteRune(escapeRune)
			text = rest
			continue
		}
		if value, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil {
			b.WriteByte(byte(value))
		}
		text = after[min(2, len(after)):]
	}
}
