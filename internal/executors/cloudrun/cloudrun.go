// Package cloudrun asks and changes Cloud Run services: who serves and since when, which revision may be gone back to, and the
// guarded changes of traffic, scaling, revision and environment.
//
// Reading the API and judging what was read are kept apart: the files marks.go, traffic.go, evidence.go and edit.go are pure
// functions over the API's messages. A change is written once, under the service's etag, with its operation id as an annotation on
// the service; what became of it is always read back.
package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds and the name of the target's section.
const System = "cloud_run"

// connection is the entry under `connections` that these kinds use.
const connection = "google_cloud"

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The Cloud Run service that is the target, and the bounds that scaling keeps.",
		New:  func() any { return &Service{} },
	})
}

// Service is the section `cloud_run` of a target.
type Service struct {
	// Service is the short name of the Cloud Run service.
	Service string `yaml:"service" rules:"required"`
	// Project is the Google Cloud project; default: the connection's.
	Project string `yaml:"project"`
	// Region is the service's region; default: the connection's.
	Region string `yaml:"region"`
	// MaxInstancesLimit is the most instances that cloud_run.scale may ask for, as lower or as upper bound; 0 leaves only the service's
	// own upper bound.
	MaxInstancesLimit int32 `yaml:"max_instances_limit"`
	// Jobs are the short names of the Cloud Run jobs, in the same project and region, that cloud_run.run_job may run for this target.
	Jobs []string `yaml:"jobs"`
}

var jobName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Validate tells in plain words what is wrong with the section.
func (s *Service) Validate(executors.Target) error {
	switch {
	case s.Service == "" || strings.ContainsAny(s.Service, "/\"\\ "):
		return errors.New("service must be the short name of a Cloud Run service")
	case s.MaxInstancesLimit < 0:
		return errors.New("max_instances_limit must not be negative")
	case slices.ContainsFunc(s.Jobs, func(job string) bool { return !jobName.MatchString(job) }):
		return errors.New("jobs must be short names of Cloud Run jobs")
	}
	return nil
}

// Resource gives project, region and short service name, with the connection's project and region where the section names none.
func (s *Service) Resource(set connect.Set) (project, region, service string, err error) {
	google, err := connect.Get[*connect.Google](set, connection)
	if err != nil {
		return "", "", "", err
	}
	return cmp.Or(s.Project, google.Project), cmp.Or(s.Region, google.Region), s.Service, nil
}

// Identity implements executors.Identified: cloud_run/PROJECT/REGION/SERVICE.
func (s *Service) Identity(set connect.Set) string {
	project, region, service, err := s.Resource(set)
	if err != nil {
		project, region, service = s.Project, s.Region, s.Service
	}
	return strings.Join([]string{System, project, region, service}, "/")
}

// Serving asks Cloud Run which revision carries all traffic now; it is an error if more than one does.
func (s *Service) Serving(ctx context.Context, set connect.Set) (string, error) {
	client, err := s.open(set)
	if err != nil {
		return "", err
	}
	svc, err := client.get(ctx)
	if err != nil {
		return "", err
	}
	if why := contradiction(svc); why != "" {
		return "", fmt.Errorf("%s contradicts itself: %s", s.Service, why)
	}
	name, ok := soleServing(svc)
	if !ok {
		return "", fmt.Errorf("several revisions of %s share the traffic", s.Service)
	}
	return name, nil
}

// section finds the target's cloud_run section.
func section(t executors.Target) (*Service, error) {
	s, ok := t.Systems[System].(*Service)
	if !ok || s == nil {
		return nil, fmt.Errorf("target %s has no section cloud_run", t.Name)
	}
	return s, nil
}

// needsSection is what the kinds' Validate begins with.
func needsSection(t executors.Target) error {
	if _, err := section(t); err != nil {
		return errors.New("the target needs a section cloud_run that names the service")
	}
	return nil
}

// short is the last part of a resource name: revisions are named in full in some fields and shortly in others.
func short(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// clock shows a time in sentences for people.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
