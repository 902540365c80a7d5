package remediation

import (
	"context"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// reread asks the sender, where it can be asked, how the alert stands right before the act. A sender that does not answer keeps a change
// that can be taken back from nothing, and any other from everything.
func (v *visit) reread(ctx context.Context, c executors.Change) bool {
	source, ok := v.set.Sources[v.run.Alert.Source].(sources.Reread)
	if !ok || v.run.Origin != ByAlert || v.run.Undoing {
		return true
	}
	standing, err := v.standing(ctx, source)
	switch {
	case err != nil && c.Reversible:
		v.journal(EntryFacts, "the sender could not be asked whether the alert still fires: "+err.Error())
		return true
	case err != nil:
		v.lackFacts(lacking(err), "asking the sender whether the alert still fires: "+err.Error())
		return false
	case !standing.Known:
		return true
	case !standing.Firing:
		v.refuse(guard.Refuse(guard.NotFiring, "the sender says that the alert does not fire any more"))
		return false
	case standing.AcknowledgedBy != "" && v.auto():
		v.refuse(guard.Refuse(guard.Held, "%s has acknowledged the incident: a person is at it", oneLine(standing.AcknowledgedBy)))
		return false
	default:
		return true
	}
}

func (v *visit) standing(ctx context.Context, source sources.Reread) (standing sources.Standing, err error) {
	if err := v.keep(ctx); err != nil {
		return standing, err
	}
	bounded, cancel := v.bounded(ctx, rereadTimeout)
	defer cancel()
	defer v.catchUp()
	system := "source " + v.run.Alert.Source
	err = v.e.Systems.Do(system, false, func() (err error) {
		standing, err = source.Reread(bounded, v.e.Connections(), v.run.Alert)
		return err
	})
	return standing, err
}
