package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mixillo/remediator/internal/guard"
)

// stopFile is the path of the stop button that needs neither database nor network: while there is such a file, or nobody can tell whether
// there is one, everything is paused. What is in it is the reason.
type stopFile string

// maxStopReason is how much of the file is shown, in bytes.
const maxStopReason = 200

// pressed gives the pause that the file is, nil when there is none.
func (f stopFile) pressed() *guard.Pause {
	info, err := os.Stat(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(filepath.Dir(string(f))); err == nil {
			return nil
		}
	}
	p := &guard.Pause{Scope: guard.Fleet, Actor: "the file " + filepath.Base(string(f))}
	if err != nil {
		p.Reason = "whether it is there cannot be told: " + err.Error()
		return p
	}
	p.Since, p.Reason = info.ModTime().UTC(), f.reason()
	return p
}

func (f stopFile) reason() string {
	file, err := os.Open(string(f))
	if err != nil {
		return "it is there"
	}
	defer func() { _ = file.Close() }()
	text, _ := io.ReadAll(io.LimitReader(file, maxStopReason))
	if words := strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "")), " "); words != "" {
		return words
	}
	return "it is there"
}

// check refuses a path whose directory is not there: the button would be pressed from the start.
func (f stopFile) check() error {
	if _, err := os.Stat(filepath.Dir(string(f))); err != nil {
		return fmt.Errorf("--pause-file: its directory must exist: %w", err)
	}
	return nil
}
