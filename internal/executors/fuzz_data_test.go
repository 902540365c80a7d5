package executors_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// FuzzChangeData: a change whose stored data is garbage is an error of each kind of action, whatever is asked of it. There is no connection,
// so that nothing can be called.
func FuzzChangeData(f *testing.F) {
	kinds := executors.Actions()
	for _, data := range []string{
		`{}`, `null`, `[]`, `{"service":"projects/p/locations/r/services/s","traffic":[null],"bounds":{"min":1}}`, `{"policy":"p","priority":1,"was":null,"wish":{}}`,
		`{"command":[],"check":[""],"connection":"x"}`, `{"request":{"path":"//"},"connection":"x"}`, `{"priority":1e99}`, `{"run_id":"x","max_keys":-1}`, `{`, ``,
	} {
		for n := range kinds {
			f.Add(uint8(n), []byte(data), "run-1-1-1", "handle")
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, data []byte, operation, handle string) {
		name := kinds[int(n)%len(kinds)]
		kind, _ := executors.LookupAction(name)
		refusesData(t, kind.New(), executors.Change{Kind: name, Target: "api", Data: json.RawMessage(data)}, operation, handle)
	})
}

func refusesData(t *testing.T, a executors.Action, c executors.Change, operation, handle string) {
	t.Helper()
	env := executors.Env{Target: executors.Target{Name: "api", Systems: map[string]any{}}, Connections: connect.Set{}, Now: time.Unix(1_774_600_000, 0), Speed: 1}
	ctx := context.Background()
	_, applied := a.Apply(ctx, env, c, operation)
	_, observed := a.Observe(ctx, env, c, operation, executors.Receipt{Handle: handle})
	_, undone := a.Undo(ctx, env, c)
	for doing, err := range map[string]error{"apply": applied, "observe": observed, "undo": undone} {
		if err == nil || strings.Contains(err.Error(), "runtime error") {
			t.Fatalf("%s of %s with %q: %v", doing, c.Kind, c.Data, err)
		}
	}
}
