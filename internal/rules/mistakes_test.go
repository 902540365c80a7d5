package rules

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every mistake of a file is reported in one run, at its place, in the file's words.
func TestMistakes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set, err := Load(filepath.Base(file), text, Options{})
			var got Diagnostics
			if !errors.As(err, &got) || set != nil {
				t.Fatalf("Load gives %v, %v, want diagnostics and no set", set, err)
			}
			compareGolden(t, strings.TrimSuffix(file, ".yaml")+".golden", got.Error()+"\n")
			for _, leak := range []string{"xoxb", "the-secret-itself", "int64", "time.", "map[", "reflect", "struct", "rules.", "google.protobuf", "interface", "sources.", "mapped", "ERROR", "<input>"} {
				if strings.Contains(got.Error(), leak) {
					t.Errorf("the report holds %q:\n%v", leak, got)
				}
			}
		})
	}
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}
