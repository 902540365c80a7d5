package store

import (
	"testing"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// FuzzRows: whatever stands in a row is read or an error; what was read is written and read again as the same.
func FuzzRows(f *testing.F) {
	for _, text := range []string{
		`{"id":"run-1","origin":"alert","alert":{"labels":{"a":"b"},"starts_at":"2026-03-01T12:00:00Z"},"of":{"change":{"data":{"x": [1, 2]},"networks":["9.9.9.0/24"]}}}`,
		`{"run":"r","seq":1,"change":{"kind":"k","before":{"a":"b"},"lasts":60000000000,"data":null},"receipt":{"handle":"h"}}`,
		`{"Alerts":[{"labels":null}],"Holds":[{"At":"2026-03-01T12:00:00.1234567Z"}],"Incomplete":true}`,
		`{"scope":"fleet","until":"0000-01-01T00:00:00Z"}`, `{"networks":["1.2.3.4/33"]}`, `{"id":"\ud800","rung":1e2}`, `null`, `[]`, ``, `{`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sameAgain[remediation.Run](t, text)
		sameAgain[remediation.Step](t, text)
		sameAgain[remediation.Approval](t, text)
		sameAgain[remediation.Message](t, text)
		sameAgain[sources.Delivery](t, text)
		sameAgain[guard.Pause](t, text)
		sameAgain[breaker.Row](t, text)
	})
}

func sameAgain[T any](t *testing.T, text string) {
	t.Helper()
	var first, again T
	if decode(text, &first) != nil {
		return
	}
	stored, err := encode(first)
	if err != nil {
		t.Fatalf("%T of %q cannot be stored: %v", first, text, err)
	}
	if err := decode(stored, &again); err != nil {
		t.Fatalf("%T of %q is not read again: %v", first, text, err)
	}
	if twice, err := encode(again); err != nil || twice != stored {
		t.Fatalf("%T was %s and is %s: %v", first, stored, twice, err)
	}
}
