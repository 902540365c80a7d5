package main

import (
	"encoding/json"
	"strings"
	"testing"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// TestPinnedTrafficIsSettledByUnpin follows the debt that a rollback leaves: reminded of, not settled while the latest revision is the
// known bad one, and settled by the command line once it is not.
func TestPinnedTrafficIsSettledByUnpin(t *testing.T) {
	t.Parallel()
	h, incident := outcome{happens: deploysSick, rules: func(t *testing.T, shipped string) string {
		t.Helper()
		return swap(t, shipped, "of: pinned_traffic, every: 24h", "of: pinned_traffic, every: 2m")
	}}.begin(t)
	want(t, "outcome", h.run(t, backend, incident).Run.Outcome, remediation.Fixed)
	good, updates := h.serving(backend), len(h.updates(backend))

	h.await(t, "people are reminded", func() bool {
		notes := h.world.Incident(incident).Notes
		return len(notes) > 1 && strings.Contains(notes[len(notes)-1].Content, "has been pinned")
	})

	refused := h.unpin(t)
	want(t, "outcome while the latest revision is the bad one", refused.Outcome, remediation.RefusedRun)
	want(t, "reason", refused.Reason, guard.NoDestination)
	want(t, "what serves", h.serving(backend), good)
	want(t, "changes", len(h.updates(backend)), updates)
	want(t, "pinned targets", h.metric(t, "remediator_pinned_targets"), "1")

	mended, err := h.world.Deploy(backend, sandbox.Revision{})
	succeed(t, err)
	want(t, "what serves after a deploy under the pin", h.serving(backend), good)
	want(t, "outcome of unpin", h.unpin(t).Outcome, remediation.Undone)
	want(t, "what serves", h.serving(backend), mended)
	latest := runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
	want(t, "allocation", h.world.CloudRun(backend).GetTraffic()[0].GetType(), latest)
	want(t, "pinned targets after unpin", h.metric(t, "remediator_pinned_targets"), "0")
}

// unpin by the command line, until its run is done.
func (h *house) unpin(t *testing.T) remediation.Run {
	t.Helper()
	out, err := h.call(t, "unpin", backend, "--reason", "the next release is out")
	succeed(t, err)
	var started struct {
		Run string `json:"run"`
	}
	succeed(t, json.Unmarshal([]byte(out), &started))
	var run remediation.Run
	h.await(t, "unpin is done", func() bool {
		view, err := (&api{app: h.app}).Run(t.Context(), started.Run)
		run = view.Run
		return err == nil && run.State == remediation.Done
	})
	return run
}

// TestScalingBackLeavesForeignBoundsAlone: bounds that somebody else has set since are theirs.
func TestScalingBackLeavesForeignBoundsAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{
		rules: calmSooner(t, string(playbook.Playbook)), services: []sandbox.Service{{Name: backend, MaxInstances: 40}},
	})
	succeed(t, h.world.SetLoad(backend, 2400))
	succeed(t, h.untilSeen(t.Context(), scaleUp, backend))
	run := h.run(t, backend, h.alert(highLatency, backend)).Run
	want(t, "outcome", run.Outcome, remediation.Fixed)
	want(t, "instances kept ready", h.world.CloudRun(backend).GetScaling().GetMinInstanceCount(), 5)

	h.boundAtLeast(t, 7)
	succeed(t, h.world.SetLoad(backend, 1200))
	back := h.followUp(t, run.ID)
	want(t, "outcome of scaling back", back.Outcome, remediation.RefusedRun)
	want(t, "reason", back.Reason, guard.HumanHand)
	want(t, "instances kept ready", h.world.CloudRun(backend).GetScaling().GetMinInstanceCount(), 7)
}

// boundAtLeast sets the service's lower bound, as a person with a terminal does.
func (h *house) boundAtLeast(t *testing.T, least int32) {
	t.Helper()
	google, err := connect.Get[*connect.Google](h.app.connections(), "google_cloud")
	succeed(t, err)
	client, err := google.Services(t.Context())
	succeed(t, err)
	service := h.world.CloudRun(backend)
	service.Scaling.MinInstanceCount = least
	op, err := client.UpdateService(t.Context(), &runpb.UpdateServiceRequest{
		Service: service, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"scaling"}},
	})
	succeed(t, err)
	_, err = op.Wait(t.Context())
	succeed(t, err)
}

// followUp is the run that looks after an act of another one, once it is done.
func (h *house) followUp(t *testing.T, parent string) remediation.Run {
	t.Helper()
	var found remediation.Run
	h.await(t, "the follow-up of "+parent+" is done", func() bool {
		found = h.child(t, parent)
		return found.State == remediation.Done
	})
	return found
}

// child is the newest follow-up of a run, the zero Run while there is none.
func (h *house) child(t *testing.T, parent string) remediation.Run {
	t.Helper()
	for _, r := range h.allRuns(t) {
		if r.Parent == parent {
			return r
		}
	}
	return remediation.Run{}
}
