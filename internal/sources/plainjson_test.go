package sources

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// plainJSON reads JSON by its grammar (RFC 8259) and shares no code with the decoder under test. It refuses a key given twice, and what is
// nested more than maxDepth deep.
type plainJSON struct {
	text string
	at   int
}

var (
	plainNumber = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?`)
	plainString = regexp.MustCompile(`^"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"`)
)

func (p *plainJSON) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *plainJSON) take(token string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

func (p *plainJSON) value(depth int) (any, bool) {
	p.space()
	for token, v := range map[string]any{"null": nil, "true": true, "false": false} {
		if p.take(token) {
			return v, true
		}
	}
	switch {
	case depth >= maxDepth && p.at < len(p.text) && strings.IndexByte("{[", p.text[p.at]) >= 0:
		return nil, false
	case p.take("{"):
		return p.object(depth + 1)
	case p.take("["):
		return p.array(depth + 1)
	}
	if number := plainNumber.FindString(p.text[p.at:]); number != "" {
		p.at += len(number)
		v, err := strconv.ParseFloat(number, 64)
		return v, err == nil
	}
	return p.str()
}

func (p *plainJSON) object(depth int) (any, bool) {
	all := map[string]any{}
	if p.take("}") {
		return all, true
	}
	for {
		p.space()
		key, ok := p.str()
		if _, twice := all[key]; !ok || twice || !p.take(":") {
			return nil, false
		}
		if all[key], ok = p.value(depth); !ok {
			return nil, false
		}
		if p.take("}") {
			return all, true
		}
		if !p.take(",") {
			return nil, false
		}
	}
}

func (p *plainJSON) array(depth int) (any, bool) {
	all := []any{}
	if p.take("]") {
		return all, true
	}
	for {
		v, ok := p.value(depth)
		if !ok {
			return nil, false
		}
		all = append(all, v)
		if p.take("]") {
			return all, true
		}
		if !p.take(",") {
			return nil, false
		}
	}
}

func (p *plainJSON) str() (string, bool) {
	raw := plainString.FindString(p.text[p.at:])
	if raw == "" {
		return "", false
	}
	p.at += len(raw)
	return plainEscapes.ReplaceAllStringFunc(raw[1:len(raw)-1], unescaped), true
}

// plainEscapes are runs of \u escapes, two of which may be one character, and single other ones.
var plainEscapes = regexp.MustCompile(`(?:\\u[0-9a-fA-F]{4})+|\\[^u]`)

func unescaped(escape string) string {
	if escape[1] != 'u' {
		return map[byte]string{'"': `"`, '\\': `\`, '/': "/", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t"}[escape[1]]
	}
	var units []uint16
	for unit := range strings.SplitSeq(escape[2:], `\u`) {
		n, _ := strconv.ParseUint(unit, 16, 16)
		units = append(units, uint16(n))
	}
	return string(utf16.Decode(units))
}
