package remediation_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// related is the run that an alert made, as Admit sees it.
func related(a alert.Alert, state remediation.State, outcome remediation.Outcome, reason guard.Reason) remediation.Related {
	return remediation.Related{
		ID: "former", Source: a.Source, Episode: a.Episode, IncidentKey: a.IncidentKey, IncidentID: a.IncidentID, StartsAt: a.StartsAt,
		State: state, Outcome: outcome, Reason: reason,
	}
}

type admitCase struct {
	now    alert.Alert
	former []remediation.Related
	joins  bool
}

func admitCases() map[string]admitCase {
	am := down(api)
	pd := am
	pd.Source, pd.Episode, pd.IncidentID, pd.StartsAt = "pd", "incident-Q1", "Q1", am.StartsAt.Add(30*time.Second)
	next := am // the same group fires again later
	next.Episode, next.StartsAt = "episode-2", am.StartsAt.Add(time.Hour)
	nextPD := pd
	nextPD.Episode, nextPD.IncidentID, nextPD.StartsAt = "incident-Q2", "Q2", pd.StartsAt.Add(time.Hour)
	sibling := am
	sibling.Episode = "another alert of the group"
	ended := func(r remediation.Related, at time.Time) remediation.Related { r.EndedAt = at; return r }
	acted := func(r remediation.Related) remediation.Related { r.Acted = true; return r }
	fixed := func(a alert.Alert) remediation.Related {
		return acted(related(a, remediation.Done, remediation.Fixed, ""))
	}
	refused := func(a alert.Alert, r guard.Reason) remediation.Related {
		return related(a, remediation.Done, remediation.RefusedRun, r)
	}
	open := related(am, remediation.Waiting, "", "")
	list := func(r ...remediation.Related) []remediation.Related { return r }
	return map[string]admitCase{
		"nothing before":                                   {am, nil, false},
		"a repeat while it is open":                        {am, list(open), true},
		"a repeat after it is done":                        {am, list(fixed(am)), true},
		"another alert of the incident while it is open":   {sibling, list(open), true},
		"the other road while it is open":                  {pd, list(open), true},
		"the other road, PagerDuty first":                  {am, list(related(pd, remediation.Running, "", "")), true},
		"the other road after it is done":                  {pd, list(fixed(am)), true},
		"the other road after it is done, PagerDuty first": {am, list(fixed(pd)), true},
		"the other road after the alert ended":             {pd, list(ended(fixed(am), am.StartsAt.Add(time.Minute))), true},
		"the key recurs by PagerDuty":                      {nextPD, list(ended(fixed(am), am.StartsAt.Add(10*time.Minute))), false},
		"the key recurs by Alertmanager":                   {next, list(ended(fixed(pd), pd.StartsAt.Add(10*time.Minute))), false},
		"the next firing by the same road":                 {next, list(ended(fixed(am), am.StartsAt.Add(10*time.Minute))), false},
		"the next incident by the same road":               {nextPD, list(ended(fixed(pd), pd.StartsAt.Add(10*time.Minute))), false},
		"the next firing while the former run is open":     {next, list(ended(open, am.StartsAt.Add(10*time.Minute))), true},
		"refused for a passing reason":                     {am, list(refused(am, guard.Paused)), false},
		"refused for a lasting reason":                     {am, list(refused(am, guard.NoCause)), true},
		"refused after it acted":                           {am, list(acted(refused(am, guard.TargetBusy))), true},
		"observed":                                         {am, list(related(am, remediation.Done, remediation.Observed, "")), true},
		"no condition held":                                {am, list(related(am, remediation.Done, remediation.NoOutcome, "")), false},
		"resolved by itself":                               {am, list(related(am, remediation.Done, remediation.ResolvedItself, "")), true},
		"the newest was refused, an older one acted":       {am, list(refused(am, guard.Paused), fixed(am)), true},
		"another outage of the target acted":               {next, list(ended(fixed(am), am.StartsAt.Add(time.Minute))), false},
		"no keys at all, another episode":                  {alert.Alert{Source: "am", Episode: "b"}, list(fixed(alert.Alert{Source: "am", Episode: "a"})), false},
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	for name, c := range admitCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := remediation.Admit(remediation.Proposal{Run: remediation.Run{Alert: c.now}}, c.former)
			if got.New == c.joins || (got.Joins != "") != c.joins {
				t.Errorf("got %+v, want joins %t", got, c.joins)
			}
			if c.joins && got.Why == "" {
				t.Error("it does not say why")
			}
		})
	}
}

// ledger is a store's side of Admit: what runs there are, newest first.
type ledger struct{ runs []remediation.Related }

func (l *ledger) admit(a alert.Alert) remediation.Admission {
	got := remediation.Admit(remediation.Proposal{Run: remediation.Run{Alert: a}}, l.runs)
	if got.New {
		r := related(a, remediation.Running, "", "")
		r.ID = string(rune('a' + len(l.runs)))
		l.runs = slices.Insert(l.runs, 0, r)
	}
	return got
}

// outages draws deliveries of few outages by both roads, some with an incident's id, some without a key.
func outages(t *rapid.T) alert.Alert {
	n := rapid.IntRange(0, 2).Draw(t, "outage")
	a := down(api)
	a.StartsAt = noon.Add(time.Duration(n) * time.Hour)
	a.Episode = "am-" + string(rune('0'+n))
	if rapid.Bool().Draw(t, "by PagerDuty") {
		a.Source, a.Episode, a.IncidentID = "pd", "pd-"+string(rune('0'+n)), "Q"+string(rune('0'+n))
	}
	if rapid.Bool().Draw(t, "without key") && a.IncidentID == "" {
		a.IncidentKey = ""
	}
	return a
}

// However deliveries are repeated and ordered: never two open runs of one incident, and none that acted is followed by another of its episode.
func TestAdmitNeverDoubles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		acted := map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				a := outages(t)
				got := l.admit(a)
				if got.New && acted[a.Episode] {
					t.Fatalf("a second attempt on %s, which was acted on", a.Episode)
				}
			},
			"end": func(t *rapid.T) {
				i := slices.IndexFunc(l.runs, func(r remediation.Related) bool { return r.State != remediation.Done })
				if i < 0 {
					t.Skip("none is open")
				}
				l.runs[i].State = remediation.Done
				if rapid.Bool().Draw(t, "acts") {
					l.runs[i].Acted, l.runs[i].Outcome = true, remediation.Fixed
					acted[l.runs[i].Episode] = true
					return
				}
				l.runs[i].Outcome, l.runs[i].Reason = remediation.RefusedRun, rapid.SampledFrom(guard.Reasons()).Draw(t, "reason")
			},
			"": func(t *rapid.T) {
				open := map[string]int{}
				for _, r := range l.runs {
					if r.State != remediation.Done {
						open["episode "+r.Episode]++
						if r.IncidentKey != "" {
							open["key "+r.IncidentKey]++
						}
						if r.IncidentID != "" {
							open["incident "+r.IncidentID]++
						}
					}
				}
				for what, n := range open {
					if n > 1 {
						t.Fatalf("%d open runs of %s", n, what)
					}
				}
			},
		})
	})
}
