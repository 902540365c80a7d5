package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// Whatever a sender writes can be stored, and comes back as it was.
func TestEveryTextIsKept(t *testing.T) {
	t.Parallel()
	piece := rapid.OneOf(rapid.SampledFrom([]string{"\x00", "\xff", "\xc3", string(escapeRune), "00", "f", "\ufffd"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(piece).Draw(t, "text"), "")
		kept := escape(text)
		if !utf8.ValidString(kept) || strings.ContainsRune(kept, 0) {
			t.Fatalf("%q cannot be stored: %q", text, kept)
		}
		if got := unescape(kept); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

func TestPostgresSeverity(t *testing.T) {
	t.Parallel()
	code := func(code string) error { return fmt.Errorf("storing: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err  error
		want severity
	}{
		"not the database's":       {errors.New("a refusal"), harmless},
		"unique violation":         {code("23505"), harmless},
		"no such table":            {code("42P01"), harmless},
		"connection lost":          {lost{errors.New("EOF")}, passing},
		"commit without an answer": {fmt.Errorf("committing: %w", lost{code("23505")}), passing},
		"administrator's command":  {code("57P01"), passing},
		"crash of a neighbour":     {code("57P02"), passing},
		"starting up":              {lost{code("57P03")}, passing},
		"disk full":                {code("53100"), passing},
		"too many connections":     {lost{code("53300")}, passing},
		"deadlock":                 {code("40P01"), passing},
		"serialization":            {code("40001"), passing},
		"waited in vain":           {code("55P03"), passing},
		"stood still":              {code("25P03"), passing},
		"a standby":                {code("25006"), passing},
		"password changed":         {lost{code("28P01")}, passing},
		"disk does not answer":     {code("58030"), fatal},
		"data corrupted":           {code("XX001"), fatal},
		"index corrupted":          {lost{code("XX002")}, fatal},
		"panic":                    {&pgconn.PgError{Code: "XX000", Severity: "PANIC"}, fatal},
	} {
		if got := (&postgresDB{}).severity(c.err); got != c.want {
			t.Errorf("%s: severity %d, want %d", name, got, c.want)
		}
	}
}
