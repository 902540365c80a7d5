package torture

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// The sources as the rules file names them.
const (
	alertmanagerSource = "alertmanager"
	pagerDutySource    = "pagerduty"
)

// The kinds of delivery, by what the checker expects of them.
const (
	kindNoise    = "noise"    // concerns no rule
	kindIgnored  = "ignored"  // of a type that neither begins nor ends an alert
	kindLookUp   = "look_up"  // has to be looked up, and concerns no rule then
	kindStranger = "stranger" // names a service that is no target
	kindOutage   = "outage"   // an outage's alert fires, or fires still
	kindEnd      = "end"      // an outage's alert has resolved
)

func sign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// amAlert is an alert as Alertmanager's webhook tells it.
type amAlert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// amBody is a group of alerts as Alertmanager's webhook tells it.
func amBody(groupKey string, alerts ...amAlert) []byte {
	status := "resolved"
	for _, a := range alerts {
		if a.Status == "firing" {
			status = "firing"
		}
	}
	return encoded(map[string]any{"version": "4", "groupKey": groupKey, "status": status, "receiver": "all", "alerts": alerts})
}

// pdBody is an event of PagerDuty's webhook.
func pdBody(id, kind, incident string, at, created time.Time) []byte {
	return encoded(map[string]any{"event": map[string]any{
		"id": id, "event_type": kind, "occurred_at": at.UTC(), "agent": map[string]string{"id": "PUSR002", "summary": "Bo"},
		"data": map[string]any{"id": incident, "type": "incident", "number": 1, "title": "made up", "created_at": created.UTC(), "urgency": "high"},
	}})
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and times always can be
	}
	return b
}

// noise is the everyday load: alerts that no rule is for, again and again, their ends, and what PagerDuty tells beside.
type noise struct {
	dice  *rand.Rand
	id    uint64
	quiet []string
	last  []delivery // a few of the former ones, to be told again
	began time.Time
}

func newNoise(seed uint64, quiet []string) *noise {
	return &noise{dice: rand.New(rand.NewPCG(seed, 1)), id: seed, quiet: quiet, began: time.Now()}
}

// next draws a delivery: of a hundred, about 55 fire, 20 are told again, 12 end, 10 are PagerDuty's, 3 name a stranger.
func (n *noise) next(now time.Time) (delivery, bool) {
	n.id++
	var d delivery
	switch x := n.dice.IntN(100); {
	case x < 55 || len(n.last) == 0:
		d = delivery{Kind: kindNoise, Source: alertmanagerSource, Body: n.group("firing", now)}
	case x < 75: // a repeat of Alertmanager's is a delivery like another, one of PagerDuty's has the same id
		return n.last[n.dice.IntN(len(n.last))], true
	case x < 87:
		d = delivery{Kind: kindNoise, Source: alertmanagerSource, Body: n.group("resolved", now)}
	case x < 95 || len(n.quiet) == 0:
		body := pdBody(fmt.Sprintf("ev-%d", n.id), "incident.annotated", "QNOBODY", now, n.began)
		d = delivery{Kind: kindIgnored, Source: pagerDutySource, Body: body}
	case x < 97:
		body := pdBody(fmt.Sprintf("ev-%d", n.id), "incident.triggered", n.quiet[n.dice.IntN(len(n.quiet))], now, n.began)
		d = delivery{Kind: kindLookUp, Source: pagerDutySource, Body: body}
	default:
		d = n.stranger(now)
	}
	if len(n.last) < 64 {
		n.last = append(n.last, d)
	} else {
		n.last[n.dice.IntN(len(n.last))] = d
	}
	return d, true
}

// group is one to three alerts out of ten thousand series.
func (n *noise) group(status string, now time.Time) []byte {
	var alerts []amAlert
	for range 1 + n.dice.IntN(3) {
		series := n.dice.IntN(10_000)
		alerts = append(alerts, amAlert{
			Status: status, StartsAt: n.began.Add(time.Duration(series) * time.Microsecond).UTC(), EndsAt: ended(status, now), Annotations: map[string]string{},
			Labels: map[string]string{"alertname": fmt.Sprintf("Noise%d", series%7), "instance": fmt.Sprintf("host-%d", series), "severity": "warning"},
		})
	}
	return amBody("{}:{job=\"noise\"}", alerts...)
}

func ended(status string, now time.Time) time.Time {
	if status == "resolved" {
		return now.UTC()
	}
	return time.Time{}
}

func (n *noise) stranger(now time.Time) delivery {
	name := fmt.Sprintf("stranger-%d", n.id)
	return delivery{
		Kind: kindStranger, Source: alertmanagerSource, Alerts: []about{{Name: alertDeploy, Target: "", Firing: true}},
		Body: amBody("{}:{service=\""+name+"\"}", amAlert{
			Status: "firing", StartsAt: now.UTC(), Annotations: map[string]string{},
			Labels: map[string]string{"alertname": alertDeploy, "service": name, "severity": "critical"},
		}),
	}
}
