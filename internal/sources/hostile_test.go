package sources

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hostileBodies are bodies of at most 1 MiB, by what they are made to cost.
func hostileBodies() map[string]string {
	const most = 1 << 20
	group := func(alerts string) string {
		return `{"version":"4","groupKey":"g","status":"firing","alerts":[` + alerts + `]}`
	}
	fire := func(labels string) string {
		return `{"status":"firing","startsAt":"2026-11-23T02:00:00Z","labels":{` + labels + `}}`
	}
	fill := func(head, part, tail string) string {
		return head + strings.TrimSuffix(strings.Repeat(part, (most-len(head)-len(tail))/len(part)), ",") + tail
	}
	var many, wide strings.Builder
	for i := 0; many.Len() < most-200; i++ {
		fmt.Fprintf(&many, `"%x":"",`, i)
	}
	for i := range 64 {
		fmt.Fprintf(&wide, `"%02d":"",`, i)
	}
	head, tail, _ := strings.Cut(group("|"), "|")
	return map[string]string{
		"as many labels as fit":        group(fire(strings.TrimSuffix(many.String(), ","))),
		"empty alerts":                 fill(head, "{},", tail),
		"alerts of empty labels":       fill(head, `{"labels":{}},`, tail),
		"alerts of 64 labels":          fill(head, fire(strings.TrimSuffix(wide.String(), ","))+",", tail),
		"alerts of one label":          fill(head, fire(`"a":""`)+",", tail),
		"objects nobody decodes":       fill(`{"x":[`, "{},", "]}"),
		"numbers nobody decodes":       fill(`{"x":[`, "1,", "]}"),
		"keys nobody decodes":          `{"x":{` + strings.TrimSuffix(many.String(), ",") + "}}",
		"brackets":                     strings.Repeat("[", most),
		"objects in objects":           strings.Repeat(`{"a":`, most/5),
		"nested as deep as is allowed": fill(`{"x":[`, strings.Repeat("[", 29)+strings.Repeat("]", 29)+",", "]}"),
		"a text of escapes":            fill(`{"version":"`, `\u0041`, `"}`),
	}
}

// TestHostileBodiesCostLittle: what reading a body holds at once, and leaves to the collector, is bounded by its size.
func TestHostileBodiesCostLittle(t *testing.T) {
	source := configured(t, mustKind(t, "alertmanager"), fixtures["alertmanager"], secretFile(t, testKey))
	for name, body := range hostileBodies() {
		took, total, peak := cost(func() { _, _ = source.Parse([]byte(body), received) })
		t.Logf("%-30s %7d bytes: %6.1f MB allocated, %5.1f MB held, %s", name, len(body), float64(total)/1e6, float64(peak)/1e6, took)
	}
}

func mustKind(t *testing.T, name string) Kind {
	k, ok := Lookup(name)
	if !ok {
		t.Fatal(name)
	}
	return k
}

func cost(f func()) (took time.Duration, total, peak uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				if m.HeapAlloc > most.Load() {
					most.Store(m.HeapAlloc)
				}
			}
		}
	}()
	began := time.Now()
	f()
	took = time.Since(began)
	close(stop)
	<-done
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc, most.Load() - min(most.Load(), before.HeapAlloc)
}
