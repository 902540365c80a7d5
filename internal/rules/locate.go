package rules

import (
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// locate finds where the character at offset (in characters) of a scalar's value stands in the text. It walks value and text side by side:
// line folding and indentation are white space on both sides, and escapes of double quotes stand for one character.
func (o *origin) locate(n *yaml.Node, offset int) place {
	w := walker{origin: o, line: max(n.Line, 1) - 1, col: max(n.Column, 1) - 1}
	w.enter(n.Style)
	found := w.place()
	for i, c := range []rune(n.Value) {
		if i > offset {
			break
		}
		found = w.step(c, n.Style)
	}
	return found
}

// walker is a position in a text that moves over a scalar.
type walker struct {
	*origin
	line, col int // from 0
}

func (w *walker) place() place { return place{in: w.origin, line: w.line + 1, col: w.col + 1} }

// enter moves from the scalar's first character to its content's.
func (w *walker) enter(style yaml.Style) {
	switch {
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		w.line, w.col = w.line+1, 0
	case style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		w.col++
	}
}

// step gives the place of the value's next character and moves behind it.
func (w *walker) step(c rune, style yaml.Style) place {
	quoted := style&yaml.DoubleQuotedStyle != 0
	if unicode.IsSpace(c) && (!quoted || w.peek() != '\\') {
		at := w.place()
		switch {
		case w.peek() == c && c != '\n':
			w.col++
		case quoted && c == ' ' && w.peek() == '\n': // the line end is this space; a further one is escaped on the next line
			w.skipSpace(quoted)
		}
		return at
	}
	w.skipSpace(quoted)
	at := w.place()
	switch {
	case quoted && w.peek() == '\\':
		w.col += w.escape()
	case style&yaml.SingleQuotedStyle != 0 && c == '\'':
		w.col += 2
	default:
		w.col++
	}
	return at
}

// peek is the character here, a newline at the end of a line and beyond the text.
func (w *walker) peek() rune {
	if line := w.runes(); w.col < len(line) {
		return line[w.col]
	}
	return '\n'
}

func (w *walker) runes() []rune {
	if w.line >= len(w.lines) {
		return nil
	}
	return []rune(w.lines[w.line])
}

// skipSpace moves over white space, line ends and, in double quotes, escaped line ends.
func (w *walker) skipSpace(quoted bool) {
	for w.line < len(w.lines) {
		line := w.runes()
		switch {
		case w.col >= len(line), quoted && line[w.col] == '\\' && strings.TrimSpace(string(line[w.col+1:])) == "":
			w.line, w.col = w.line+1, 0
		case unicode.IsSpace(line[w.col]):
			w.col++
		default:
			return
		}
	}
}

// escape is the length of the escape that begins here.
func (w *walker) escape() int {
	line := w.runes()
	if w.col+1 >= len(line) {
		return 1
	}
	switch line[w.col+1] {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}
