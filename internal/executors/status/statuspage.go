package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// pageMost bounds a summary, in bytes: the largest pages have some thousand components.
const pageMost = 4 << 20

// impacts are those of incidents and the values of a page's indicator, from the least to the worst (Statuspage's API v2).
var impacts = []string{"none", "maintenance", "minor", "major", "critical"}

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "status.statuspage",
		Doc:  "Reads a page of Atlassian Statuspage, such as status.mongodb.com: its indicator, impaired components, unresolved incidents and maintenance.",
		New:  func() executors.Probe { return &statuspage{} },
		Fact: Statuspage{},
	})
}

// statuspage reads one page.
type statuspage struct {
	// URL is the page's address, such as https://status.mongodb.com; its summary is read from below it.
	URL string `yaml:"url" rules:"required"`
	// Components are words; only components whose name or group holds one of them count, and incidents that concern such a one. Default: all.
	Components []string `yaml:"components"`
	// MaxAge is how old the page's own update may be before it says nothing; default: any age, because a calm page is not updated.
	MaxAge time.Duration `yaml:"max_age"`
}

// Statuspage is what status.statuspage finds.
type Statuspage struct {
	// Indicator is the page's own summary of everything on it: none, minor, major or critical.
	Indicator string `cel:"indicator"`
	// Degraded are the components that count and are not operational, as "name: status".
	Degraded []string `cel:"degraded"`
	// Open is how many incidents are not resolved and concern components that count.
	Open int64 `cel:"open"`
	// Worst is the worst impact of these: none, minor, major or critical; empty if there are none.
	Worst string `cel:"worst"`
	// Incidents are they by id: name, impact, status, started and updated (times).
	Incidents map[string]any `cel:"incidents"`
	// Maintenance are the scheduled maintenances that are under way and concern components that count, by name.
	Maintenance []string `cel:"maintenance"`
	// Trouble says that a component that counts is impaired, or an incident with an impact is open.
	Trouble bool `cel:"trouble"`
	// Age is how long ago the page was updated, by its own word.
	Age time.Duration `cel:"age"`
}

// summary is the page's summary.json.
type summary struct {
	Page struct {
		Name    string    `json:"name"`
		Updated time.Time `json:"updated_at"`
	} `json:"page"`
	Status struct {
		Indicator string `json:"indicator"`
	} `json:"status"`
	Components  *[]component `json:"components"`
	Incidents   *[]incident  `json:"incidents"`
	Maintenance []incident   `json:"scheduled_maintenances"`
}

type component struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Status  string `json:"status"`
	IsGroup bool   `json:"group"`
	Group   string `json:"group_id"`
}

type incident struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Impact     string      `json:"impact"`
	Status     string      `json:"status"`
	Started    *time.Time  `json:"started_at"`
	Created    time.Time   `json:"created_at"`
	Updated    time.Time   `json:"updated_at"`
	Components []component `json:"components"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *statuspage) Validate(executors.Target) error {
	if _, err := address("url", p.URL); err != nil {
		return err
	}
	if p.MaxAge < 0 {
		return errors.New("max_age must not be negative")
	}
	return needsWords("components", p.Components)
}

// Ask implements executors.Probe.
func (p *statuspage) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	base, err := address("url", p.URL)
	if err != nil {
		return executors.Answer{}, err
	}
	var got summary
	if err := read(ctx, base, "/api/v2/summary.json", "reading the status page "+base.Host, pageMost, &got); err != nil {
		return executors.Answer{}, err
	}
	return p.answer(base.Host, got, env.Now)
}

// answer makes a fact of what a page says.
func (p *statuspage) answer(host string, got summary, now time.Time) (executors.Answer, error) {
	if got.Status.Indicator == "" || got.Components == nil || got.Incidents == nil {
		return executors.Answer{}, fmt.Errorf("reading the status page %s: it is no summary of Statuspage", host)
	}
	fact := &Statuspage{Indicator: words(got.Status.Indicator), Incidents: map[string]any{}, Degraded: []string{}, Maintenance: []string{}}
	counted := p.count(*got.Components)
	fact.impaired(counted)
	felt := fact.open(counted, *got.Incidents, got.Maintenance)
	fact.Trouble = len(fact.Degraded) > 0 || rank(impacts, felt) > rank(impacts, "maintenance")
	if !got.Page.Updated.IsZero() {
		fact.Age = now.Sub(got.Page.Updated)
	}
	unknown, why := p.doubts(got, fact, counted)
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(host) + why}, nil
}

// count gives the components that count. A group stands for its own components, which are listed beside it.
func (p *statuspage) count(all []component) []component {
	groups := map[string]string{}
	for _, c := range all {
		if c.IsGroup {
			groups[c.ID] = c.Name
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c component) bool {
		return c.IsGroup || !meant(p.Components, c.Name, groups[c.Group])
	})
}

func (f *Statuspage) impaired(counted []component) {
	for _, c := range counted {
		if c.Status != "operational" && len(f.Degraded) < tellMost {
			f.Degraded = append(f.Degraded, words(c.Name+": "+c.Status))
		}
	}
}

// open notes the incidents and maintenances that are not over, and gives the worst impact as it is written. One that names no component
// concerns everybody.
func (f *Statuspage) open(counted []component, incidents, maintenance []incident) string {
	var felt []string
	for _, i := range incidents {
		if slices.Contains([]string{"resolved", "postmortem", "completed"}, i.Status) || !i.concerns(counted) {
			continue
		}
		f.Open++
		felt = append(felt, i.Impact)
		if len(f.Incidents) < tellMost {
			f.Incidents[words(i.ID)] = map[string]any{
				"name": words(i.Name), "impact": words(i.Impact), "status": words(i.Status), "started": i.started().UTC(), "updated": i.Updated.UTC(),
			}
		}
	}
	most := worst(impacts, felt)
	f.Worst = words(most)
	for _, m := range maintenance {
		if (m.Status == "in_progress" || m.Status == "verifying") && m.concerns(counted) && len(f.Maintenance) < tellMost {
			f.Maintenance = append(f.Maintenance, words(m.Name))
		}
	}
	return most
}

func (i incident) started() time.Time {
	if i.Started != nil {
		return *i.Started
	}
	return i.Created
}

func (i incident) concerns(counted []component) bool {
	return len(i.Components) == 0 || slices.ContainsFunc(i.Components, func(c component) bool {
		return slices.ContainsFunc(counted, func(o component) bool { return o.ID == c.ID })
	})
}

// doubts names what is not known, and why, for the note.
func (p *statuspage) doubts(got summary, f *Statuspage, counted []component) (unknown []string, why string) {
	all := []string{"indicator", "degraded", "open", "worst", "incidents", "maintenance", "trouble"}
	switch {
	case got.Page.Updated.IsZero():
		unknown = append(unknown, "age")
		if p.MaxAge > 0 {
			return append(unknown, all...), "; it does not say how old it is, so nothing is known"
		}
	case p.MaxAge > 0 && f.Age.Abs() > p.MaxAge:
		return all, "; that is too old to say anything, or its clock is wrong"
	}
	if len(p.Components) > 0 && len(counted) == 0 {
		return append(unknown, all[1:]...), fmt.Sprintf("; no component is called anything like %s", strings.Join(p.Components, ", "))
	}
	return unknown, ""
}

func (f *Statuspage) summary(host string) string {
	said := fmt.Sprintf("%s says %s", host, f.Indicator)
	if len(f.Degraded) > 0 {
		said += ", impaired: " + connect.Line(strings.Join(f.Degraded, ", "), 2*wordsMost)
	}
	if f.Open > 0 {
		said += fmt.Sprintf(", %d incidents open, the worst %s", f.Open, f.Worst)
	}
	if len(f.Maintenance) > 0 {
		said += fmt.Sprintf(", %d maintenances under way", len(f.Maintenance))
	}
	if f.Age == 0 {
		return said
	}
	return said + fmt.Sprintf(" (updated %s ago)", old(f.Age))
}
