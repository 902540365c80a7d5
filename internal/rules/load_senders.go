package rules

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sources"
)

func (b *builder) connection(key, value *yaml.Node) {
	where, name, rest := b.kind(key, value)
	kind, ok := connect.Lookup(name)
	if !ok {
		b.kinds[key.Value] = ""
		b.unknownKind(where, "connection", name, connect.Kinds())
		return
	}
	b.kinds[key.Value] = name
	config := kind.New()
	if b.fill(rest, config) {
		b.blame(key, rest, config.Check())
	}
	b.set.Connections[key.Value] = config
}

func (b *builder) source(key, value *yaml.Node) {
	where, name, rest := b.kind(key, value)
	kind, ok := sources.Lookup(name)
	if !ok {
		b.unknownKind(where, "source", name, sources.Kinds())
		return
	}
	limits, rest := b.split(rest, "limits")
	b.sourceLimits(key.Value, limits)
	source := kind.New(key.Value)
	if c, ok := source.(sources.Check); b.fill(rest, source) && ok {
		b.blame(key, rest, c.Check())
	}
	b.set.Sources[key.Value], b.set.SourceKinds[key.Value] = source, name
	if name != pagerDuty {
		b.callsPeople(key, source)
		return
	}
	connection := pagerDuty
	if written := find(rest, "connection"); written != nil {
		where, connection = written, written.Value
	}
	b.needsConnection(where, connection, pagerDuty, "a PagerDuty source looks the alerts of an incident up")
}

// callsPeople wants a way to call people where a source is watched: that its feed is silent is told on PagerDuty.
func (b *builder) callsPeople(key *yaml.Node, source sources.Source) {
	watched, watches := source.(sources.Watched)
	polled, polls := source.(sources.Poll)
	asks := watches && watched.Watch() != nil || polls && polled.Polling().Every > 0
	if asks && !slices.Contains(slices.Collect(maps.Values(b.kinds)), pagerDuty) {
		b.needsConnection(key, pagerDuty, pagerDuty, "a silent feed is told on PagerDuty")
	}
}

// The names under which the file declares the connections that kinds use.
const (
	googleCloud = "google_cloud"
	pagerDuty   = "pagerduty"
	slack       = "slack"
	cloudRun    = "cloud_run" // a target's section
)

// needsConnection reports that something in use has no connection, or one of another kind: wherever the connection's name is written,
// and once where it is meant without being written.
func (b *builder) needsConnection(n *yaml.Node, name, kind, why string) {
	is, declared := b.kinds[name]
	key, written := name+" "+kind, n.Kind == yaml.ScalarNode && n.Value == name
	switch {
	case declared && (is == kind || is == ""), b.missed[key] && !written:
		return
	case declared:
		b.at(n, mistake{id: "wrong-connection", message: fmt.Sprintf("connection %s is a %s connection, not %s; %s", show(name), is, kind, why),
			hint: b.connectionsOf(kind)})
	default:
		b.at(n, mistake{id: "missing-connection", message: fmt.Sprintf("the file declares no connection %s; %s", show(name), why),
			hint: fmt.Sprintf("declare %s under connections", show(name))})
	}
	b.missed[key] = true
}

// connectionsOf is the hint that lists the connections of a kind.
func (b *builder) connectionsOf(kind string) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(b.kinds)) {
		if b.kinds[name] == kind {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("declare a connection of kind %s under connections", kind)
	}
	return allowedHint(names)
}
