package atlas

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// seenWithin is how young Atlas's own news of a member must be to be believed: it hears of each about once a minute.
const seenWithin = 5 * time.Minute

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "atlas.cluster",
		Doc:  "Tells how a MongoDB Atlas cluster is: what Atlas does with it, whether it is paused and has a primary, version, disk and backup.",
		New:  func() executors.Probe { return &clusterProbe{} },
		Fact: ClusterFact{},
	})
}

// clusterProbe has no parameters: the cluster is the target's.
type clusterProbe struct{}

// ClusterFact is what atlas.cluster finds.
type ClusterFact struct {
	// State is what Atlas does with the cluster: IDLE, CREATING, UPDATING, DELETING or REPAIRING.
	State string `cel:"state"`
	// Paused says that the cluster takes no connections because somebody paused it.
	Paused bool `cel:"paused"`
	// Version of MongoDB.
	Version string `cel:"version"`
	// Backup says that cloud backups are made.
	Backup bool `cel:"backup"`
	// DiskGB is the size of the largest member's disk in gigabytes.
	DiskGB float64 `cel:"disk_gb"`
	// Hosts is how many hosts the connection string names.
	Hosts int64 `cel:"hosts"`
	// Primary says that every replica set of the cluster has a primary; unknown without fresh news of the members.
	Primary bool `cel:"primary"`
	// Members is how many members Atlas has heard of within five minutes.
	Members int64 `cel:"members"`
	// Healthy says that Atlas leaves the cluster alone (IDLE), that it is not paused, names hosts and has a primary.
	Healthy bool `cel:"healthy"`
}

// Validate tells in plain words what is missing.
func (*clusterProbe) Validate(t executors.Target) error {
	_, err := section(t)
	return err
}

// Ask implements executors.Probe.
func (*clusterProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	section, api, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	got, err := section.read(ctx, api)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, unknown := got.fact()
	all, err := members(ctx, api, got)
	switch known := fact.seen(all, env.Now); {
	case ctx.Err() != nil:
		return executors.Answer{}, ctx.Err()
	case err != nil:
		unknown = append(unknown, "primary", "members")
	case !known:
		unknown = append(unknown, "primary")
	}
	fact.Healthy = fact.well() && fact.Primary
	if fact.well() && slices.Contains(unknown, "primary") || slices.Contains(unknown, "paused") {
		unknown = append(unknown, "healthy")
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(got.Name, unknown)}, nil
}

// fact tells what the cluster's description says.
func (c cluster) fact() (*ClusterFact, []string) {
	f := &ClusterFact{State: connect.Line(c.State, wordsMost), Version: connect.Line(c.Version, wordsMost), Hosts: int64(len(c.hosts()))}
	for _, s := range c.Specs {
		for _, r := range s.Regions {
			f.DiskGB = max(f.DiskGB, r.Electable.DiskGB)
		}
	}
	var unknown []string
	lacks := func(name string, lacking bool) {
		if lacking {
			unknown = append(unknown, name)
		}
	}
	lacks("version", f.Version == "")
	lacks("disk_gb", f.DiskGB <= 0)
	lacks("paused", c.Paused == nil)
	lacks("backup", c.Backup == nil)
	f.Paused, f.Backup = c.Paused != nil && *c.Paused, c.Backup != nil && *c.Backup
	return f, unknown
}

// seen counts the members with fresh news and looks for a primary among them. False: a set without a primary also has members that are not
// heard of, one of which may be it.
func (f *ClusterFact) seen(all []process, now time.Time) (known bool) {
	primaries, silent := map[string]bool{}, map[string]bool{}
	for _, p := range all {
		if p.Set == "" {
			continue // a router of a sharded cluster
		}
		primaries[p.Set] = primaries[p.Set] || false
		if now.Sub(p.Seen) > seenWithin {
			silent[p.Set] = true
			continue
		}
		f.Members++
		primaries[p.Set] = primaries[p.Set] || strings.HasSuffix(p.Type, "PRIMARY")
	}
	lost, doubt := false, false
	for set, has := range primaries {
		lost = lost || !has && !silent[set]
		doubt = doubt || !has && silent[set]
	}
	f.Primary = len(primaries) > 0 && !lost && !doubt
	return f.Primary || lost
}

// well is what the description alone says of the cluster's health.
func (f *ClusterFact) well() bool { return f.State == "IDLE" && !f.Paused && f.Hosts > 0 }

func (f *ClusterFact) summary(name string, unknown []string) string {
	said := fmt.Sprintf("Atlas cluster %s is %s, MongoDB %s, %d hosts", name, f.State, f.Version, f.Hosts)
	if f.Paused {
		said += ", paused"
	}
	switch {
	case slices.Contains(unknown, "primary"):
		return said + "; whether it has a primary is not known"
	case !f.Primary:
		return said + fmt.Sprintf("; none of its %d members is primary", f.Members)
	default:
		return said + fmt.Sprintf("; %d members are heard of, with a primary", f.Members)
	}
}
