package torture

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// storm is a flood of alerts that rules are for: so many deliveries of so many alerts over so many targets.
type storm struct {
	Deliveries int      `json:"deliveries"`
	Alerts     int      `json:"alerts"`
	Targets    []string `json:"targets"`
}

// stormSource makes up the flood: every alert at least once, in no order, and repeats of them.
type stormSource struct {
	storm
	dice  *rand.Rand
	order []int
	made  int
	began time.Time
}

func newStormSource(s storm, seed uint64) *stormSource {
	dice := rand.New(rand.NewPCG(seed, 2))
	return &stormSource{storm: s, dice: dice, order: dice.Perm(s.Alerts), began: time.Now()}
}

func (s *stormSource) next(time.Time) (delivery, bool) {
	if s.made >= s.Deliveries {
		return delivery{}, false
	}
	n := s.dice.IntN(s.Alerts)
	if s.made < s.Alerts {
		n = s.order[s.made]
	}
	s.made++
	target := s.Targets[n%len(s.Targets)]
	outage := fmt.Sprintf("storm-%d", n)
	return delivery{
		Kind: kindOutage, Source: alertmanagerSource, Alerts: []about{{Name: alertSick, Target: target, Outage: outage, Firing: true}},
		Body: amBody(fmt.Sprintf("{}:{outage=%q}", outage), amAlert{
			Status: "firing", StartsAt: s.began.Add(time.Duration(n) * time.Microsecond).UTC(), Annotations: map[string]string{},
			Labels: map[string]string{"alertname": alertSick, "service": target, "severity": "critical", "outage": outage},
		}),
	}, true
}
