package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// maxDiagnostics bounds what one report holds; maxExcerpt bounds, in characters, what is shown of one line.
const (
	maxDiagnostics = 1000
	maxExcerpt     = 160
)

// Diagnostic is one mistake in the rules file.
type Diagnostic struct {
	ID      string `json:"id"` // stable name of the class of mistake, such as unknown-key
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1
	Col     int    `json:"col"`  // in characters, from 1
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`    // what to write instead, where that is known
	Excerpt string `json:"excerpt,omitempty"` // the line, or the part of a long one around the place

	caret int // column of the place within Excerpt, from 0
}

// String renders the mistake as a compiler does: place, message, the line with a caret below it, and the hint.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s: %s\n", d.File, d.Line, d.Col, d.ID, d.Message)
	gutter := len(fmt.Sprint(d.Line))
	if d.Excerpt != "" {
		fmt.Fprintf(&b, "%*s |\n%d | %s\n%*s | %s\n", gutter, "", d.Line, d.Excerpt, gutter, "", d.underline())
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, "%*s = %s\n", gutter, "", d.Hint)
	}
	return b.String()
}

// underline is the caret below the excerpt, drawn on to the end of the word it stands under.
func (d Diagnostic) underline() string {
	line := []rune(d.Excerpt)
	caret := min(d.caret, len(line))
	end := caret + 1
	for end < len(line) && (unicode.IsLetter(line[end]) || unicode.IsDigit(line[end]) || strings.ContainsRune("_-.", line[end])) {
		end++
	}
	pad := make([]rune, caret)
	for i := range pad {
		pad[i] = ' '
		if line[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return string(pad) + "^" + strings.Repeat("~", end-caret-1)
}

// Diagnostics is the error of Load: every mistake found, by line and column.
type Diagnostics []Diagnostic

// Error renders all of them.
func (ds Diagnostics) Error() string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.String())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// origin is a text that mistakes are reported in.
type origin struct {
	name  string
	lines []string
}

func newOrigin(name string, text []byte) *origin {
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	if len(lines) > 0 {
		lines[0] = strings.TrimPrefix(lines[0], "\ufeff")
	}
	return &origin{name: name, lines: lines}
}

// place is a position in a text.
type place struct {
	in        *origin
	line, col int
}

// mistake is what is wrong, without its place.
type mistake struct {
	id, message, hint string
}

// found is a mistake at its place.
type found struct {
	place
	mistake
}

// report collects mistakes. Nodes are of the rules file unless they are listed as the overlay's.
type report struct {
	file, overlay *origin
	overlaid      map[*yaml.Node]bool
	list          []found
	seen          map[found]bool
	count         int // of reports, also of what was reported before
}

func newReport(name string, text []byte) *report {
	return &report{file: newOrigin(name, text), overlaid: map[*yaml.Node]bool{}, seen: map[found]bool{}}
}

func (r *report) originOf(n *yaml.Node) *origin {
	if r.overlaid[n] {
		return r.overlay
	}
	return r.file
}

func (r *report) place(n *yaml.Node) place {
	return place{in: r.originOf(n), line: max(n.Line, 1), col: max(n.Column, 1)}
}

// at reports a mistake at a node's beginning.
func (r *report) at(n *yaml.Node, m mistake) { r.add(r.place(n), m) }

// within reports a mistake at a character of a scalar's value.
func (r *report) within(n *yaml.Node, offset int, m mistake) {
	r.add(r.originOf(n).locate(n, offset), m)
}

func (r *report) add(p place, m mistake) {
	f := found{p, m}
	r.count++
	if r.seen[f] || len(r.list) >= maxDiagnostics {
		return
	}
	r.seen[f] = true
	r.list = append(r.list, f)
}

// mask hides a value that was written where only the place of a secret belongs: it must not appear in an excerpt.
func (r *report) mask(n *yaml.Node) {
	in := r.originOf(n)
	start, end, quote := r.place(n), in.locate(n, len(n.Value)), 0
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		quote = 1
	}
	for line := start.line; line <= end.line && line <= len(in.lines); line++ {
		text := []rune(in.lines[line-1])
		from, to := 0, len(text)
		if line == start.line {
			from = min(start.col-1, len(text))
		}
		if line == end.line && n.Kind == yaml.ScalarNode {
			to = max(from, min(end.col+quote, len(text)))
		}
		in.lines[line-1] = string(text[:from]) + strings.Repeat("*", to-from) + string(text[to:])
	}
}

// err gives the report as Load's error, nil when it is empty. The overlay's mistakes come behind the file's own.
func (r *report) err() error {
	if len(r.list) == 0 {
		return nil
	}
	slices.SortStableFunc(r.list, func(a, b found) int {
		if a.in != b.in {
			if a.in == r.file {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.col, b.col))
	})
	ds := make(Diagnostics, 0, len(r.list))
	for _, f := range r.list {
		d := Diagnostic{ID: f.id, File: f.in.name, Line: f.line, Col: f.col, Message: f.message, Hint: f.hint}
		d.Excerpt, d.caret = f.excerpt()
		ds = append(ds, d)
	}
	return ds
}

func (p place) excerpt() (string, int) {
	if p.line < 1 || p.line > len(p.in.lines) {
		return "", 0
	}
	line, caret := []rune(strings.ToValidUTF8(p.in.lines[p.line-1], "\ufffd")), p.col-1
	for i, c := range line {
		if unicode.IsControl(c) && c != '\t' {
			line[i] = '\ufffd'
		}
	}
	if from := max(caret-maxExcerpt/2, 0); len(line) > maxExcerpt && from < len(line) {
		line, caret = line[from:min(from+maxExcerpt, len(line))], caret-from
	}
	return string(line), min(caret, len(line))
}
