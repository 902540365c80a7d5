package connect

import (
	"errors"
	"strings"
	"testing"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	p, err := NewPrograms(ExecConfig{Binaries: []string{"/usr/bin/flush"}, Secrets: map[string]Secret{"KEY": kept(t, "hunter2")}})
	if err != nil || p.Directory() != "/" || p.Close() != nil {
		t.Fatal(err)
	}
	for path, allowed := range map[string]bool{"/usr/bin/flush": true, "/usr/bin/flush ": false, "flush": false, "/usr/bin/../bin/flush": false, "": false} {
		if err := p.Allow(path); (err == nil) != allowed || err != nil && !errors.Is(err, ErrProgramRefused) {
			t.Errorf("%q: got %v", path, err)
		}
	}
	if v, err := p.Secret("KEY"); err != nil || v.Reveal() != "hunter2" {
		t.Errorf("got %v", err)
	}
	if _, err := p.Secret("OTHER"); err == nil || IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
}

func TestProgramsCheck(t *testing.T) {
	t.Parallel()
	ok := []string{"/bin/true"}
	for want, c := range map[string]ExecConfig{
		"at least one program":      {},
		"no plain absolute path":    {Binaries: []string{"true"}},
		"no plain absolute":         {Binaries: []string{"/bin/../bin/true"}},
		"directory must be":         {Binaries: ok, Directory: "x"},
		"no name of an environment": {Binaries: ok, Secrets: map[string]Secret{"A=B": {Env: "X"}}},
		"is not given to programs":  {Binaries: ok, Secrets: map[string]Secret{"LD_PRELOAD": {Env: "X"}}},
		"either file or env":        {Binaries: ok, Secrets: map[string]Secret{"A": {}}},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := c.Open(t.Context()); err == nil {
			t.Errorf("%q: it was opened", want)
		}
	}
	for _, name := range []string{"", "1A", "A-B", "BASH_ENV", "LD_LIBRARY_PATH", "Ä", "BASH_FUNC_x"} {
		if CheckVariable(name) == nil {
			t.Errorf("%q is no variable that is given", name)
		}
	}
}
