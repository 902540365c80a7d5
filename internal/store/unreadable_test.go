package store_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/store"
)

// What a guard cannot read counts against the act, under the lock as before it.
func TestAnUnreadableGuardStopsTheIntent(t *testing.T) {
	t.Parallel()
	for what, query := range map[string]string{
		"a pause":     `INSERT INTO pauses (scope, name, data) VALUES ('rule', 'another', '{')`,
		"the breaker": `INSERT INTO breakers (rule, target, data) VALUES ('restart', 'api', '{')`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := sqliteWorld(t)
			s := w.subject.(*store.Store)
			run := w.born(firing("e"), "api")
			_, err := s.Writer().ExecContext(t.Context(), query)
			must(t, err)
			if err := w.act(&run, "restart", plenty); err == nil {
				t.Error("the intent was committed")
			}
			acts, err := s.Acts(t.Context(), noon)
			must(t, err)
			if len(acts) != 0 {
				t.Errorf("debited %+v", acts)
			}
		})
	}
}
