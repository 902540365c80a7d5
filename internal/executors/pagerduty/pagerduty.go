// Package pagerduty asks PagerDuty about the incident that a run is about: how it stands, what was changed around it, who is on call.
// What is told to PagerDuty goes through the outbox and is no kind of action.
package pagerduty

import (
	"context"
	"errors"
	"regexp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds and the name of the connection.
const System = "pagerduty"

const (
	mostTitle = 200 // runes
	mostName  = 80
	mostNames = 20
)

func open(env executors.Env) (*connect.PagerDuty, error) {
	return connect.Get[*connect.PagerDuty](env.Connections, System)
}

// incidentOf is the id of the run's incident. A run that only knows a key means the incident that is open under it.
func incidentOf(ctx context.Context, env executors.Env, pd *connect.PagerDuty) (string, error) {
	switch {
	case env.Incident.ID != "":
		return env.Incident.ID, nil
	case env.Incident.Key == "":
		return "", errors.New("pagerduty: the run is about no incident")
	}
	in, found, err := pd.FindOpen(ctx, env.Incident.Key)
	if err == nil && !found {
		err = errors.New("pagerduty: no incident is open under the run's key")
	}
	return in.ID, err
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// checkID judges an id out of the rules file.
func checkID(field, id string) error {
	if id != "" && !validID.MatchString(id) {
		return errors.New(field + " must be an id of PagerDuty, such as PABC123")
	}
	return nil
}

// names bounds and masks names of people.
func names(all []string) []string {
	told := []string{}
	for _, name := range all[:min(len(all), mostNames)] {
		told = append(told, connect.Scrub(name, mostName))
	}
	return told
}
