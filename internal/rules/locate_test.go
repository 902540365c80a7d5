package rules

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// Whatever way a text is written in, each of its printed characters is found where it stands.
func TestLocate(t *testing.T) {
	t.Parallel()
	styles := map[string]yaml.Style{
		"plain": 0, "double": yaml.DoubleQuotedStyle, "single": yaml.SingleQuotedStyle, "literal": yaml.LiteralStyle, "folded": yaml.FoldedStyle,
	}
	for name, style := range styles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				text := rapid.StringOfN(rapid.RuneFrom([]rune("abcé'\"\\ <&.(\n")), 1, 120, -1).Draw(rt, "text")
				value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: style}
				key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "kéy"}
				written, err := yaml.Dump(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}, yaml.WithLineWidth(40))
				if err != nil {
					rt.Skip(err)
				}
				checkPlaces(rt, written, text)
			})
		})
	}
}

func checkPlaces(rt *rapid.T, written []byte, text string) {
	var top yaml.Node
	if err := yaml.Load(written, &top); err != nil {
		rt.Skip(err)
	}
	n := top.Content[0].Content[1]
	if n.Value != text {
		rt.Skip("the writer changed the text")
	}
	o := newOrigin("x", written)
	for i, c := range []rune(text) {
		if !strings.ContainsRune("abcé<&.(", c) {
			continue
		}
		p := o.locate(n, i)
		line := []rune(o.lines[p.line-1])
		if p.col > len(line) || line[p.col-1] != c && !strings.HasPrefix(string(line[p.col-1:]), `\x`) {
			rt.Fatalf("character %d (%q) of %q is said to be at %d:%d of\n%s", i, c, text, p.line, p.col, written)
		}
	}
}
