package connect

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Config is one entry under `connections` in rules.yaml: a struct whose fields are the parameters.
type Config interface {
	// Check refuses parameters that Open could not use. It reads no secret and calls nothing, so that a rules file can be checked
	// where there are neither.
	Check() error
	// Open makes the client. It does not call out: a system that is down at start is found when it is used.
	Open(ctx context.Context) (io.Closer, error)
}

// ConnectionKind is one registered kind of connection.
type ConnectionKind struct {
	Name string
	Doc  string
	New  func() Config
}

var kinds = map[string]ConnectionKind{}

// Register adds a kind of connection; call it from init.
func Register(k ConnectionKind) {
	if _, ok := kinds[k.Name]; ok {
		panic("connect: kind registered twice: " + k.Name)
	}
	kinds[k.Name] = k
}

// Lookup finds a kind of connection by name.
func Lookup(name string) (ConnectionKind, bool) { k, ok := kinds[name]; return k, ok }

// Kinds lists the registered names in order.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// Set holds the open clients by connection name.
type Set map[string]io.Closer

// OpenAll opens every configured connection; on an error those already open are closed.
func OpenAll(ctx context.Context, configs map[string]Config) (Set, error) {
	set := Set{}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		client, err := configs[name].Open(ctx)
		if err != nil {
			_ = set.Close()
			return nil, fmt.Errorf("opening connection %s: %w", name, err)
		}
		set[name] = client
	}
	return set, nil
}

// Close closes every client and returns the first error.
func (s Set) Close() error {
	var first error
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if err := s[name].Close(); err != nil && first == nil {
			first = fmt.Errorf("closing connection %s: %w", name, err)
		}
	}
	return first
}

// Get finds the client of a connection. A missing one is a mistake in the rules file and is said in its words.
func Get[C io.Closer](s Set, name string) (C, error) {
	client, ok := s[name].(C)
	if !ok {
		var none C
		return none, fmt.Errorf("the rules file declares no connection %q", name)
	}
	return client, nil
}
