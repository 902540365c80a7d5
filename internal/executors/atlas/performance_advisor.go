package atlas

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	defaultWindow, leastWindow, mostWindow = time.Hour, time.Minute, 24 * time.Hour
	// advisorLag is how long slow operations may take to be shown. Atlas names no figure.
	advisorLag = 5 * time.Minute
	// logsMost bounds the slow operations that one member is asked for; as many mean that there may be more.
	logsMost = 2000
	// tellMost bounds how many namespaces and indexes a fact holds.
	tellMost = 10
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "atlas.performance_advisor",
		Doc:  "Asks Atlas's Performance Advisor for the slow operations of a window, by namespace, and for the indexes that it suggests.",
		New:  func() executors.Probe { return &advisor{} },
		Fact: Advice{},
		Lag:  advisorLag,
	})
}

// advisor asks about the target's cluster.
type advisor struct {
	// Window is how far back operations count; default 1h, at most 24h. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
}

// Advice is what atlas.performance_advisor finds. Of operations it holds where and how long, never what was asked for.
type Advice struct {
	// SlowQueries is how many slow operations the window holds, on all members.
	SlowQueries int64 `cel:"slow_queries"`
	// More says that there are more than were read.
	More bool `cel:"more"`
	// Slowest is how long the slowest took; unknown if no operation tells.
	Slowest time.Duration `cel:"slowest"`
	// ByNamespace is how many of them each of the ten worst namespaces (database.collection) holds.
	ByNamespace map[string]any `cel:"by_namespace"`
	// Worst is the namespace with the most of them; empty if there are none.
	Worst string `cel:"worst"`
	// Suggested is how many indexes are suggested.
	Suggested int64 `cel:"suggested"`
	// Indexes are the ten weightiest of them, as "database.collection {field: 1, other: -1}".
	Indexes []string `cel:"indexes"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *advisor) Validate(t executors.Target) error {
	if p.Window != 0 && (p.Window < leastWindow || p.Window > mostWindow) {
		return errors.New("window must be between 1m and 24h")
	}
	_, err := section(t)
	return err
}

// LookBack is how far the answer reaches into the past, beside the lag.
func (p *advisor) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// slowQuery is one slow operation as the API shows it (PerformanceAdvisorSlowQuery). Older versions tell how long it took in the line alone.
type slowQuery struct {
	Line      string `json:"line"`
	Namespace string `json:"namespace"`
	Metrics   struct {
		Millis *int64 `json:"operationExecutionTime"`
	} `json:"metrics"`
}

func (q slowQuery) took() (time.Duration, bool) {
	if q.Metrics.Millis != nil {
		return time.Duration(*q.Metrics.Millis) * time.Millisecond, true
	}
	var line struct {
		Attr struct {
			Millis *int64 `json:"durationMillis"`
		} `json:"attr"`
	}
	if json.Unmarshal([]byte(q.Line), &line) != nil || line.Attr.Millis == nil {
		return 0, false
	}
	return time.Duration(*line.Attr.Millis) * time.Millisecond, true
}

// suggestion is one suggested index (PerformanceAdvisorIndex): a document per field, in order.
type suggestion struct {
	Namespace string           `json:"namespace"`
	Index     []map[string]int `json:"index"`
	Weight    float64          `json:"weight"`
}

func (s suggestion) String() string {
	var fields []string
	for _, part := range s.Index {
		for _, name := range slices.Sorted(maps.Keys(part)) {
			fields = append(fields, fmt.Sprintf("%s: %d", name, part[name]))
		}
	}
	return connect.Line(s.Namespace+" {"+strings.Join(fields, ", ")+"}", wordsMost)
}

// Ask implements executors.Probe. Operations and indexes are asked for apart: where one is not told, the other is.
func (p *advisor) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	section, api, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	window := p.window(env)
	fact := &Advice{ByNamespace: map[string]any{}, Indexes: []string{}}
	var unknown []string
	suggested := fact.suggest(ctx, api, section, window)
	if suggested != nil {
		unknown = append(unknown, "suggested", "indexes")
	}
	slow, err := p.slow(ctx, api, section, window)
	switch {
	case ctx.Err() != nil:
		return executors.Answer{}, ctx.Err()
	case err != nil && suggested != nil:
		return executors.Answer{}, errors.Join(err, suggested)
	case err != nil:
		unknown = append(unknown, "slow_queries", "more", "slowest", "by_namespace", "worst")
	case !fact.count(slow):
		unknown = append(unknown, "slowest")
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(err == nil, suggested == nil)}, nil
}

// window is the query of both calls, in milliseconds.
func (p *advisor) window(env executors.Env) url.Values {
	from := env.Now.Add(-cmp.Or(p.Window, env.Scale(defaultWindow)))
	if from.Before(env.Since) {
		from = env.Since
	}
	return url.Values{
		"since":    {strconv.FormatInt(from.UnixMilli(), 10)},
		"duration": {strconv.FormatInt(max(env.Now.Sub(from).Milliseconds(), 1), 10)},
	}
}

// slow reads the slow operations of every member that holds data. One member's silence is everybody's: the others' operations are not all.
func (p *advisor) slow(ctx context.Context, api *connect.Atlas, c *Cluster, window url.Values) ([]slowQuery, error) {
	of, err := c.read(ctx, api)
	if err != nil {
		return nil, err
	}
	all, err := members(ctx, api, of)
	if err != nil {
		return nil, err
	}
	query := maps.Clone(window)
	query.Set("nLogs", strconv.Itoa(logsMost))
	var slow []slowQuery
	asked := 0
	for _, m := range all {
		if !strings.HasSuffix(m.Type, "PRIMARY") && !strings.HasSuffix(m.Type, "SECONDARY") {
			continue
		}
		on, err := slowOn(ctx, api, m, query)
		if err != nil {
			return nil, err
		}
		slow = append(slow, on...)
		asked++
	}
	if asked == 0 {
		return nil, fmt.Errorf("cluster %s has no member that could be asked for its slow operations", of.Name)
	}
	return slow, nil
}

func slowOn(ctx context.Context, api *connect.Atlas, member process, query url.Values) ([]slowQuery, error) {
	var got struct {
		Slow *[]slowQuery `json:"slowQueries"`
	}
	q := connect.Request{
		Doing: "asking for the slow operations on " + member.ID, Query: query,
		Path: "/processes/" + url.PathEscape(member.ID) + "/performanceAdvisor/slowQueryLogs",
	}
	if err := api.Do(ctx, q, &got); err != nil {
		return nil, err
	}
	if got.Slow == nil {
		return nil, fmt.Errorf("%s: the answer tells of none and of no lack of them", q.Doing)
	}
	return *got.Slow, nil
}

// count fills in what the operations come to. False: how long the slowest took is not known.
func (f *Advice) count(slow []slowQuery) (timed bool) {
	counts := map[string]int64{}
	for _, q := range slow {
		counts[connect.Line(q.Namespace, wordsMost)]++
		if took, known := q.took(); known {
			f.Slowest, timed = max(f.Slowest, took), true
		}
	}
	f.SlowQueries, f.More = int64(len(slow)), len(slow) >= logsMost
	worst := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, namespace := range worst[:min(len(worst), tellMost)] {
		if i == 0 {
			f.Worst = namespace
		}
		f.ByNamespace[namespace] = counts[namespace]
	}
	return timed
}

func (f *Advice) suggest(ctx context.Context, api *connect.Atlas, c *Cluster, window url.Values) error {
	var got struct {
		Indexes *[]suggestion `json:"suggestedIndexes"`
	}
	q := connect.Request{
		Doing: "asking for the indexes suggested for cluster " + c.Cluster, Query: window,
		Path: "/clusters/" + url.PathEscape(c.Cluster) + "/performanceAdvisor/suggestedIndexes",
	}
	if err := api.Do(ctx, q, &got); err != nil {
		return err
	}
	if got.Indexes == nil {
		return fmt.Errorf("%s: the answer tells of none and of no lack of them", q.Doing)
	}
	all := *got.Indexes
	slices.SortStableFunc(all, func(a, b suggestion) int { return cmp.Compare(b.Weight, a.Weight) })
	f.Suggested = int64(len(all))
	for _, s := range all[:min(len(all), tellMost)] {
		f.Indexes = append(f.Indexes, s.String())
	}
	return nil
}

func (f *Advice) summary(counted, suggested bool) string {
	said := "the slow operations could not be had"
	switch {
	case counted && f.SlowQueries == 0:
		said = "no slow operations"
	case counted:
		said = fmt.Sprintf("%d slow operations", f.SlowQueries)
		if f.More {
			said = "more than " + said
		}
		if f.Slowest > 0 {
			said += fmt.Sprintf(", the slowest of %s", f.Slowest)
		}
		said += fmt.Sprintf(", most on %s (%d)", f.Worst, f.ByNamespace[f.Worst])
	}
	switch {
	case !suggested:
		return said + "; the suggested indexes could not be had"
	case f.Suggested == 0:
		return said + "; no index is suggested"
	default:
		return said + fmt.Sprintf("; %d indexes are suggested, first %s", f.Suggested, f.Indexes[0])
	}
}
