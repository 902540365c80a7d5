// Package sentry asks which errors a target's project raises: how many events, of which issue, since when and since which release. It
// changes nothing. Titles and culprits come from whoever can make the target fail: they are bounded, masked and only told.
package sentry

import (
	"errors"
	"regexp"

	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds, the name of the target's section and of the connection.
const System = "sentry"

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The Sentry project, and the environment in it, that the target reports its errors to.",
		New:  func() any { return &Project{} },
	})
}

// Project is the section `sentry` of a target.
type Project struct {
	// Project is the project's slug or number.
	Project string `yaml:"project" rules:"required"`
	// Environment is the one that counts, such as production; default: all of them.
	Environment string `yaml:"environment"`
}

var (
	slug        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	environment = regexp.MustCompile(`^[^\s/\\]{1,64}$`)
)

// Validate tells in plain words what is wrong with the section.
func (p *Project) Validate(executors.Target) error {
	switch {
	case !slug.MatchString(p.Project):
		return errors.New("project must be the slug or the number of a Sentry project")
	case p.Environment != "" && !environment.MatchString(p.Environment):
		return errors.New("environment must be a name without spaces and slashes")
	}
	return nil
}

func projectOf(t executors.Target) (*Project, error) {
	p, ok := t.Systems[System].(*Project)
	if !ok {
		return nil, errors.New("the target needs a section sentry that names the project")
	}
	return p, nil
}
