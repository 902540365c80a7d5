package rules

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mixillo/remediator/internal/alert"
)

// Load never panics, reports nothing but diagnostics with a place inside the text, and what it accepts can be matched and judged.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/mistakes/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, []byte(nil))
			f.Add([]byte("version: 1\n"), text)
		}
	}
	f.Add([]byte("version: 1\nrules: [{if: \"\\u00e9\\\n  x\", match: ['a=~\"\xff\"']}]\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, text, overlay []byte) {
		set, err := Load("rules.yaml", text, Options{Overlay: overlay})
		var ds Diagnostics
		if err != nil && !errors.As(err, &ds) {
			t.Fatalf("error %v is no report", err)
		}
		if (set == nil) != (err != nil) {
			t.Fatalf("set %v with error %v", set, err)
		}
		if err != nil {
			checkReport(t, ds)
			return
		}
		for _, c := range set.Match(alert.Alert{Labels: map[string]string{"a": "b", "alertname": "A"}}) {
			if bound, ok := c.Rule.Bind(c.Target); ok {
				bound.If(alert.Alert{}, nil)
			}
		}
	})
}

func checkReport(t *testing.T, ds Diagnostics) {
	t.Helper()
	if len(ds) == 0 || ds.Error() == "" {
		t.Fatal("an empty report is an error")
	}
	for _, d := range ds {
		if d.Line < 1 || d.Col < 1 || d.ID == "" || d.Message == "" {
			t.Fatalf("diagnostic without a place or a message: %+v", d)
		}
	}
}
