package executors_test

import (
	"slices"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/sandbox"
)

func init() {
	examples["cloud_run.run_job"] = example{params: "{job: reset-passwords, args: [--all], env: {DRY: 'no'}}", stand: newJobStand}
	questions["cloud_run.instances"] = question{}
	questions["cloud_run.error_ratio"] = question{}
}

const job = "reset-passwords"

// jobStand is Cloud Run's world as those see it who run a job in it.
type jobStand struct{ *fixture }

func newJobStand(t *testing.T) stand {
	f := newFixture(t)
	must(t, f.AddJob(sandbox.Job{Name: job, Env: map[string]string{"PASSWORD": "hunter2-not-for-notes"}, Takes: 20 * time.Second}))
	f.env.Target.Systems["cloud_run"] = &cloudrun.Service{Service: service, Jobs: []string{job}}
	return jobStand{f}
}

func (s jobStand) Writes() (n int) {
	for _, e := range s.Ledger() {
		if e.System == "cloud_run" && e.Verb == "run_job" {
			n++
		}
	}
	return n
}

func (s jobStand) Befall(t trouble, reads bool) bool {
	delay := time.Duration(0)
	if t == hangs {
		delay = 2 * patience
	}
	switch {
	case reads:
		return s.fixture.Befall(t, reads)
	case t == conflict:
		must(s.T, s.BumpJobEtagBeforeNextRun(job))
	case slices.Contains([]trouble{lateAnswer, garbageBack}, t):
		must(s.T, s.RunJobThenFail(job, runErrors[t]))
	default:
		s.FailCalls(sandbox.CallFault{Method: "RunJob", Code: runErrors[t], Delay: delay})
	}
	return true
}
