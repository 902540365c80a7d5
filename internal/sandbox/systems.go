package sandbox

import (
	"fmt"
	"net/http"
)

// system is the stand-in of one vendor's HTTP API: its handler, and what befalls the calls to it. Whoever forgets the credential is refused
// by the handler.
type system struct {
	name   string
	faults httpFaults
	http.Handler
}

func newSystem(name string, h http.Handler) *system {
	s := &system{name: name, Handler: h}
	s.faults.retryHeader = "Retry-After"
	s.faults.body = func(status int) string {
		return fmt.Sprintf(`{"error":{"code":%d,"message":"the sandbox was told to fail this call"}}`, status)
	}
	return s
}

// serveSystems opens a listener for each stand-in and remembers how to spoil the calls to it.
func (w *World) serveSystems(all ...*system) error {
	for _, s := range all {
		if err := w.serveHTTP(s.name, w.cfg.Listen.Systems[s.name], s.faults.wrap(s.Handler)); err != nil {
			return err
		}
		w.systems[s.name] = s
	}
	return nil
}

// URL is the base address of a system's stand-in, such as "atlas".
func (w *World) URL(name string) string { return "http://" + w.places[name] }

// Spoil spoils the next calls of a system's stand-in, such as "atlas".
func (w *World) Spoil(name string, f Fault) error {
	s, ok := w.systems[name]
	if !ok {
		return fmt.Errorf("spoiling calls: the sandbox has no system %q", name)
	}
	s.faults.add(f)
	return nil
}

type aboutSystem struct {
	System string `json:"system"`
	Fault  Fault  `json:"fault"`
}
