package connect

import (
	"cmp"
	"context"

	"github.com/PagerDuty/go-pagerduty"
)

const (
	openPage  = 100 // PagerDuty's longest
	openPages = 10
)

// OpenIncidents lists the triggered and acknowledged incidents of the services and of the teams, the newest first, in at most ten calls. It is
// not whole when there are more than a thousand. An empty list of services or teams leaves none out.
func (p *PagerDuty) OpenIncidents(ctx context.Context, services, teams []string) (open []Incident, whole bool, err error) {
	options := pagerduty.ListIncidentsOptions{
		Statuses: []string{StatusTriggered, StatusAcknowledged}, ServiceIDs: services, TeamIDs: teams,
		DateRange: "all", // by default PagerDuty leaves out incidents opened before the last month
		SortBy:    "created_at:desc", Limit: openPage,
	}
	for range openPages {
		var list *pagerduty.ListIncidentsResponse
		err := p.do(ctx, call{doing: "listing the open incidents"}, func(ctx context.Context, api *pagerduty.Client) (err error) {
			list, err = api.ListIncidentsWithContext(ctx, options)
			return err
		})
		if err != nil {
			return nil, false, err
		}
		for i := range list.Incidents {
			open = append(open, incidentOf(&list.Incidents[i]))
		}
		if !list.More {
			return open, true, nil
		}
		options.Offset += cmp.Or(list.Limit, openPage)
	}
	return open, false, nil
}
