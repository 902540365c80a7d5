package atlas

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// wordsMost bounds texts of other people in facts, in characters.
const wordsMost = 120

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "atlas.access_list",
		Doc:  "Tells whether the IP access list of MongoDB Atlas lets our addresses in, by which entry and until when, and which recorded entries are missing.",
		New:  func() executors.Probe { return &accessList{} },
		Fact: AccessList{},
	})
}

// accessList has no parameters: addresses and recorded entries are the target's.
type accessList struct{}

// AccessList is what atlas.access_list finds.
type AccessList struct {
	// Allowed says that every egress address of the target is let in; unknown if it declares none.
	Allowed bool `cel:"allowed"`
	// Blocked are the egress addresses that are not let in, or not wholly; unknown if the target declares none.
	Blocked []string `cel:"blocked"`
	// AllowedBy holds, by egress address, the entry that lets it in: entry, comment, and, where it ends, expires (a time).
	AllowedBy map[string]any `cel:"allowed_by"`
	// Missing are the recorded entries that are not on the list.
	Missing []string `cel:"missing"`
	// ExpiresIn is until when our addresses are let in as they are now; unknown if no entry that they rest on ends.
	ExpiresIn time.Duration `cel:"expires_in"`
	// OpenToTheWorld says that every address there is is let in.
	OpenToTheWorld bool `cel:"open_to_the_world"`
	// Entries is how many entries are in force.
	Entries int64 `cel:"entries"`
}

// Validate tells in plain words what is missing.
func (*accessList) Validate(t executors.Target) error {
	_, err := section(t)
	return err
}

// Ask implements executors.Probe.
func (*accessList) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	c, api, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	all, err := list(ctx, api, env.Now)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, unknown, err := c.judge(all, env.Now)
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(c)}, err
}

// judge compares the list with what the target declares.
func (c *Cluster) judge(all []entry, now time.Time) (*AccessList, []string, error) {
	fact := &AccessList{AllowedBy: map[string]any{}, Blocked: []string{}, Entries: int64(len(all)), OpenToTheWorld: world(all)}
	var resting []entry
	for _, address := range c.Egress {
		n, err := network(address)
		if err != nil {
			return fact, nil, err
		}
		by := covering(all, n)
		if by == nil {
			fact.Blocked = append(fact.Blocked, address)
			continue
		}
		resting = append(resting, by...)
		fact.AllowedBy[address] = shown(by)
	}
	var err error
	if fact.Missing, err = c.missing(all); err != nil {
		return fact, nil, err
	}
	fact.Allowed = len(fact.Blocked) == 0
	var unknown []string
	if len(c.Egress) == 0 {
		unknown = append(unknown, "allowed", "blocked", "allowed_by")
	}
	if first := ends(resting); !first.IsZero() {
		fact.ExpiresIn = first.Sub(now)
	} else {
		unknown = append(unknown, "expires_in")
	}
	return fact, unknown, nil
}

// missing lists the recorded entries that are not there.
func (c *Cluster) missing(all []entry) ([]string, error) {
	missing := []string{}
	for _, e := range c.AccessList {
		n, err := network(e.Entry)
		if err != nil {
			return nil, err
		}
		if _, there := at(all, n); !there {
			missing = append(missing, e.Entry)
		}
	}
	return missing, nil
}

// shown tells of the entries that let one address in.
func shown(by []entry) map[string]any {
	names, comments := make([]string, 0, len(by)), make([]string, 0, len(by))
	for _, e := range by {
		names = append(names, e.Network.String())
		comments = append(comments, e.Comment)
	}
	out := map[string]any{"entry": strings.Join(names, " "), "comment": connect.Line(strings.Join(comments, "; "), wordsMost)}
	if first := ends(by); !first.IsZero() {
		out["expires"] = first.UTC()
	}
	return out
}

func (f *AccessList) summary(c *Cluster) string {
	said := fmt.Sprintf("the access list lets in all %d of our addresses", len(c.Egress))
	switch {
	case len(c.Egress) == 0:
		said = "the target declares no address of ours"
	case !f.Allowed:
		said = fmt.Sprintf("the access list keeps out %d of our %d addresses: %s", len(f.Blocked), len(c.Egress), strings.Join(f.Blocked, ", "))
	case f.ExpiresIn != 0:
		said += fmt.Sprintf(", the first of them for %s more", f.ExpiresIn.Round(time.Second))
	}
	if len(f.Missing) > 0 {
		said += fmt.Sprintf("; %d of %d recorded entries are missing: %s", len(f.Missing), len(c.AccessList), strings.Join(f.Missing, ", "))
	}
	if f.OpenToTheWorld {
		said += "; it is open to the world"
	}
	return said
}
