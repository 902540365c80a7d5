package sources

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
)

func apart(t *testing.T, s Source, body string) Delivery {
	t.Helper()
	d, err := s.Parse([]byte(body), received)
	if err == nil {
		d, err = Apart([]byte(body), d)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	return d
}

func marked(t *testing.T, body string, mark Drill) string {
	t.Helper()
	b, err := mark.Marked([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A drill of a real body shares no key with it: neither the delivery's nor the alert's.
func TestADrillSharesNoKeyWithWhatIsReal(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	labels := map[string]string{"alertname": "Down", "service": "api"}
	for _, body := range []string{triggeredBody, strings.Replace(triggeredBody, "triggered", "resolved", 1), strings.Replace(triggeredBody, `"k"`, "null", 1)} {
		earnest, one := apart(t, p, body), apart(t, p, marked(t, body, Drill{ID: "one", Labels: labels}))
		other := apart(t, p, marked(t, body, Drill{ID: "other", Labels: labels}))
		a := one.Alerts[0]
		if one.Drill != "one" || one.Incomplete || one.Ignored != "" || len(one.Holds) > 0 || a.IncidentID != "" {
			t.Errorf("a drill is %+v", one)
		}
		if a.Status == alert.Firing && cmp.Diff(labels, a.Labels) != "" {
			t.Errorf("its labels are %v", a.Labels)
		}
		for _, d := range []Delivery{earnest, other} {
			b := d.Alerts[0]
			if d.DedupKey == one.DedupKey || b.Episode == a.Episode || b.IncidentKey == a.IncidentKey {
				t.Errorf("a drill shares a key:\n%+v\n%+v", one, d)
			}
		}
		if diff := cmp.Diff(one, apart(t, p, marked(t, body, Drill{ID: "one", Labels: labels}))); diff != "" {
			t.Errorf("the drill's repeat differs:\n%s", diff)
		}
	}
}

// What begins and ends in one drill belongs together, as it does in earnest.
func TestADrillKnowsItself(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"alertname": "Down"}
	fires := apart(t, pagerDuty(t), marked(t, triggeredBody, Drill{ID: "d", Labels: labels})).Alerts[0]
	ends := apart(t, pagerDuty(t), marked(t, strings.Replace(triggeredBody, "triggered", "resolved", 1), Drill{ID: "d"})).Alerts[0]
	if fires.Episode != ends.Episode || fires.IncidentKey != ends.IncidentKey || ends.Status != alert.Resolved {
		t.Errorf("it begins as %+v and ends as %+v", fires, ends)
	}
}

func TestWhatADrillCannotBe(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	for name, c := range map[string]struct{ body, why string }{
		"without labels":  {marked(t, triggeredBody, Drill{ID: "d"}), "has no labels"},
		"acknowledgement": {marked(t, acknowledgedBody(userAgent, "acknowledged"), Drill{ID: "d"}), "nobody's hand"},
		"a ping":          {marked(t, pingBody, Drill{ID: "d"}), "test of the subscription"},
	} {
		if d := apart(t, p, c.body); !strings.Contains(d.Ignored, c.why) || !strings.Contains(d.Ignored, "drill d") || len(d.Holds) > 0 || d.Incomplete {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A mark that cannot be read makes its delivery neither a drill nor real.
func TestAMarkThatCannotBeRead(t *testing.T) {
	t.Parallel()
	many, _ := json.Marshal(manyLabels(maxLabels + 1))
	for name, mark := range map[string]string{
		"null": "null", "text": `"d"`, "no id": "{}", "an empty id": `{"id":""}`, "a long id": `{"id":"` + strings.Repeat("a", 65) + `"}`,
		"another spelling": `{"ID":"d"}`, "an id with a slash": `{"id":"a/b"}`, "too many labels": `{"id":"d","labels":` + string(many) + `}`,
		"labels of numbers": `{"id":"d","labels":{"a":1}}`, "a list": `["d"]`, "false": "false",
	} {
		body := strings.Replace(triggeredBody, `{"event"`, `{"`+DrillKey+`":`+mark+`,"event"`, 1)
		d, err := pagerDuty(t).Parse([]byte(body), received)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, err = Apart([]byte(body), d); err == nil || !strings.Contains(err.Error(), DrillKey) || len(d.Alerts) > 0 || d.DedupKey != "" {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}
}

// An alert that only speaks of drills is real.
func TestTextIsNoMark(t *testing.T) {
	t.Parallel()
	am := &Alertmanager{name: "am"}
	for _, labels := range []string{`{"alertname":"remediator_drill"}`, `{"remediator_drill":"d"}`, `{"a":"\"remediator_drill\":{\"id\":\"d\"}"}`} {
		if d := apart(t, am, alertmanagerGroup(labels)); d.Drill != "" || strings.HasPrefix(d.Alerts[0].Episode, drillSpace) {
			t.Errorf("%s made a drill: %+v", labels, d)
		}
	}
	list := []byte(`["remediator_drill"]`)
	if d, err := Apart(list, Delivery{Type: "x"}); err != nil || d.Drill != "" {
		t.Errorf("a body that is no object: %v, %+v", err, d)
	}
	if d, err := Apart([]byte("{}"), Delivery{DedupKey: "drill/d/1"}); err != nil || strings.HasPrefix(d.DedupKey, drillSpace) {
		t.Errorf("a sender's own id is one of a drill's: %v, %+v", err, d)
	}
}

func TestMarkedRefuses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "[]", "null", `{"a":1,"a":2}`, "{}x"} {
		if got, err := (Drill{ID: "d"}).Marked([]byte(body)); err == nil {
			t.Errorf("%q was marked: %s", body, got)
		}
	}
	if _, err := (Drill{}).Marked([]byte("{}")); err == nil {
		t.Error("a drill without an id was marked")
	}
	again := marked(t, marked(t, triggeredBody, Drill{ID: "a"}), Drill{ID: "b"})
	if d := apart(t, pagerDuty(t), again); !strings.Contains(d.Ignored, "drill b") {
		t.Errorf("marked twice: %+v", d)
	}
}

func BenchmarkApartOfAnOrdinaryBody(b *testing.B) {
	body := []byte(strings.Repeat(" ", 1<<20) + "{}")
	for b.Loop() {
		if d, err := Apart(body, Delivery{}); err != nil || d.Drill != "" {
			b.Fatal(err)
		}
	}
}
