package status

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// feedMost bounds the feed, in bytes: it is an archive of all incidents with all their updates.
const feedMost = 32 << 20

// severities and kinds of incidents, from the least to the worst (status.cloud.google.com/incidents.schema.json).
var (
	severities = []string{"low", "medium", "high"}
	kinds      = []string{"AVAILABLE", "SERVICE_INFORMATION", "SERVICE_DISRUPTION", "SERVICE_OUTAGE"}
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "status.google_cloud",
		Doc:  "Reads Google Cloud's feed of incidents and tells which open ones concern given products and locations.",
		New:  func() executors.Probe { return &googleCloud{} },
		Fact: GoogleCloud{},
	})
}

// googleCloud reads the feed.
type googleCloud struct {
	// URL is where the feed is: https://status.cloud.google.com; incidents.json is read from below it.
	URL string `yaml:"url" rules:"required"`
	// Products are words; only incidents of a product whose name holds one of them count. Default: all.
	Products []string `yaml:"products"`
	// Locations are regions such as europe-west1; only incidents there, in a zone of them, everywhere or nowhere in particular count. Default: all.
	Locations []string `yaml:"locations"`
}

// GoogleCloud is what status.google_cloud finds.
type GoogleCloud struct {
	// Open is how many open incidents count.
	Open int64 `cel:"open"`
	// Trouble says that one of them is a disruption or an outage, not a mere notice.
	Trouble bool `cel:"trouble"`
	// Severity is the worst of them: low, medium or high; empty if there are none.
	Severity string `cel:"severity"`
	// Impact is the worst of them: SERVICE_INFORMATION, SERVICE_DISRUPTION or SERVICE_OUTAGE; empty if there are none.
	Impact string `cel:"impact"`
	// Begin is when the first of them began; unknown if there are none.
	Begin time.Time `cel:"begin"`
	// Incidents are they by id: text, severity, impact, begin, updated (times), latest (what was said last), products and locations.
	Incidents map[string]any `cel:"incidents"`
	// Age is how long ago anything in the feed was changed, whatever it concerns.
	Age time.Duration `cel:"age"`
}

// outage is one incident of the feed.
type outage struct {
	ID       string     `json:"id"`
	Begin    time.Time  `json:"begin"`
	End      *time.Time `json:"end"`
	Modified time.Time  `json:"modified"`
	Text     string     `json:"external_desc"`
	Severity string     `json:"severity"`
	Impact   string     `json:"status_impact"`
	Service  string     `json:"service_name"`
	Products []place    `json:"affected_products"`
	Places   []place    `json:"currently_affected_locations"`
	Latest   struct {
		When   time.Time `json:"when"`
		Text   string    `json:"text"`
		Places []place   `json:"affected_locations"`
	} `json:"most_recent_update"`
}

// place is a location or a product.
type place struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *googleCloud) Validate(executors.Target) error {
	if _, err := address("url", p.URL); err != nil {
		return err
	}
	return errors.Join(needsWords("products", p.Products), needsWords("locations", p.Locations))
}

// Ask implements executors.Probe.
func (p *googleCloud) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	base, err := address("url", p.URL)
	if err != nil {
		return executors.Answer{}, err
	}
	var all []outage
	if err := read(ctx, base, "/incidents.json", "reading Google Cloud's incidents", feedMost, &all); err != nil {
		return executors.Answer{}, err
	}
	return p.answer(all, env.Now)
}

// answer makes a fact of the feed.
func (p *googleCloud) answer(all []outage, now time.Time) (executors.Answer, error) {
	if len(all) == 0 || slices.ContainsFunc(all, func(o outage) bool { return o.ID == "" || o.Begin.IsZero() }) {
		return executors.Answer{}, errors.New("reading Google Cloud's incidents: the feed holds no archive of incidents, so it is not what it was")
	}
	fact := &GoogleCloud{Incidents: map[string]any{}}
	newest := fact.count(p, all)
	unknown := []string{}
	if newest.IsZero() {
		unknown = append(unknown, "age")
	} else {
		fact.Age = now.Sub(newest)
	}
	if fact.Open == 0 {
		unknown = append(unknown, "begin")
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(p)}, nil
}

// count notes the open incidents that count and gives the feed's newest change.
func (f *GoogleCloud) count(p *googleCloud, all []outage) (newest time.Time) {
	var severity, impact []string
	for _, o := range all {
		if o.Modified.After(newest) {
			newest = o.Modified
		}
		if o.End != nil || !p.concerns(o) {
			continue
		}
		f.Open++
		severity, impact = append(severity, o.Severity), append(impact, o.Impact)
		if f.Begin.IsZero() || o.Begin.Before(f.Begin) {
			f.Begin = o.Begin
		}
		if len(f.Incidents) < tellMost {
			f.Incidents[words(o.ID)] = o.shown()
		}
	}
	most := worst(kinds, impact)
	f.Severity, f.Impact = words(worst(severities, severity)), words(most)
	f.Trouble = rank(kinds, most) > rank(kinds, "SERVICE_INFORMATION")
	return newest
}

// concerns reports whether an incident is about the products and locations that were asked for. What it does not say it may be about.
func (p *googleCloud) concerns(o outage) bool {
	products := append(titles(o.Products), o.Service)
	about := len(o.Products) == 0 && o.Service == "" || meant(p.Products, products...)
	places := append(slices.Clone(o.Places), o.Latest.Places...)
	return about && (len(p.Locations) == 0 || len(places) == 0 || slices.ContainsFunc(places, p.near))
}

// near reports whether a place is one of the locations, a zone of one, or everywhere.
func (p *googleCloud) near(at place) bool {
	return at.ID == "global" || slices.ContainsFunc(p.Locations, func(l string) bool {
		return strings.EqualFold(at.ID, l) || strings.HasPrefix(strings.ToLower(at.ID), strings.ToLower(l)+"-")
	})
}

func titles(all []place) []string {
	out := make([]string, 0, len(all))
	for _, p := range all {
		out = append(out, p.Title)
	}
	return out
}

func (o outage) shown() map[string]any {
	list := func(all []place, name func(place) string) []string {
		out := make([]string, 0, min(len(all), tellMost))
		for _, p := range all[:min(len(all), tellMost)] {
			out = append(out, words(name(p)))
		}
		return out
	}
	return map[string]any{
		"text": words(o.Text), "severity": words(o.Severity), "impact": words(o.Impact), "begin": o.Begin.UTC(), "updated": o.Latest.When.UTC(),
		"latest": words(o.Latest.Text), "products": list(o.Products, func(p place) string { return p.Title }),
		"locations": list(o.Places, func(p place) string { return p.ID }),
	}
}

func (f *GoogleCloud) summary(p *googleCloud) string {
	about := strings.Join(p.Products, ", ")
	if about == "" {
		about = "any product"
	}
	if len(p.Locations) > 0 {
		about += " in " + strings.Join(p.Locations, ", ")
	}
	if f.Open == 0 {
		return "Google Cloud tells of no open incident of " + about
	}
	first := slices.Sorted(maps.Keys(f.Incidents))[0]
	text, _ := f.Incidents[first].(map[string]any)["text"].(string)
	return fmt.Sprintf("Google Cloud tells of %d open incidents of %s since %s, the worst %s (%s): %s", f.Open, about,
		f.Begin.UTC().Format("2006-01-02 15:04 MST"), f.Severity, f.Impact, text)
}
