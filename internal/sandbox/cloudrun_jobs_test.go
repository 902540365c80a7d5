package sandbox_test

import (
	"slices"
	"testing"
	"time"

	run "cloud.google.com/go/run/apiv2"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/sandbox"
)

const jobPath = "projects/mixillo/locations/europe-west1/jobs/reset"

func TestJobsRunAsTheAPIDoes(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 100})
	must(t, f.AddJob(sandbox.Job{Name: "reset", Args: []string{"--dry"}, Env: map[string]string{"A": "1", "B": "2"}, Takes: 5 * time.Second}))
	jobs, err := run.NewJobsClient(f.ctx, googleOptions(f.World)...)
	must(t, err)
	defer func() { _ = jobs.Close() }()
	j, err := jobs.GetJob(f.ctx, &runpb.GetJobRequest{Name: jobPath})
	must(t, err)
	op, err := jobs.RunJob(f.ctx, &runpb.RunJobRequest{Name: jobPath, Etag: j.GetEtag(), Overrides: &runpb.RunJobRequest_Overrides{
		ContainerOverrides: []*runpb.RunJobRequest_Overrides_ContainerOverride{{
			Args: []string{"--all"}, Env: []*runpb.EnvVar{{Name: "B", Values: &runpb.EnvVar_Value{Value: "3"}}},
		}},
	}})
	must(t, err)
	started, err := op.Metadata()
	must(t, err)
	c := started.GetTemplate().GetContainers()[0]
	if !slices.Equal(c.GetArgs(), []string{"--all"}) || len(c.GetEnv()) != 2 || c.GetEnv()[1].GetValue() != "3" || started.GetCompletionTime() != nil {
		t.Errorf("what began to run: %v", started)
	}
	if _, err := jobs.RunJob(f.ctx, &runpb.RunJobRequest{Name: jobPath, Etag: j.GetEtag()}); status.Code(err) != codes.Aborted {
		t.Errorf("with the etag of before: %v", err)
	}
	ended, err := op.Wait(f.ctx)
	must(t, err)
	if ended.GetSucceededCount() != 1 || ended.GetCompletionTime() == nil || ended.GetLogUri() == "" {
		t.Errorf("how it ended: %v", ended)
	}
	// Twice is twice, in the world and in the ledger.
	_, err = jobs.RunJob(f.ctx, &runpb.RunJobRequest{Name: jobPath})
	must(t, err)
	runs := 0
	for _, e := range f.Ledger() {
		if e.Verb == "run_job" {
			runs++
		}
	}
	if len(f.Executions("reset")) != 2 || runs != 2 {
		t.Errorf("%d executions, %d in the ledger", len(f.Executions("reset")), runs)
	}
	if _, err := jobs.RunJob(f.ctx, &runpb.RunJobRequest{Name: jobPath + "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown job: %v", err)
	}
	// What is only validated leaves nothing.
	if _, err := jobs.RunJob(f.ctx, &runpb.RunJobRequest{Name: jobPath, ValidateOnly: true}); err != nil || len(f.Executions("reset")) != 2 {
		t.Errorf("validate_only: %v, %d executions", err, len(f.Executions("reset")))
	}
}

func TestJobVerbs(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	for _, step := range [][2]string{
		{"add-job", `{"name":"reset","takes":"1h","hangs":true}`},
		{"set-job-labels", `{"job":"reset","labels":{"a":"b"}}`},
		{"run-job", `{"job":"reset"}`},
		{"end-executions", `{"job":"reset","message":"exit 1"}`},
		{"fail-next-execution", `{"job":"reset","message":"no image"}`},
		{"run-job-then-fail", `{"job":"reset","code":"UNAVAILABLE"}`},
		{"bump-job-etag-before-next-run", `{"job":"reset"}`},
		{"hide-executions", `{"job":"reset"}`},
		{"add-service", `{"name":"api"}`},
		{"log", `{"service":"api","lines":[{"text":"boom","ago":"1s","over":"1m","count":3},{"request":{"url":"/x","latency":"2s"}}]}`},
		{"sparse-logs", `{"pages":1}`},
	} {
		if code, out := f.control(step[0], step[1]); code != 200 {
			t.Errorf("%s: %d %v", step[0], code, out)
		}
	}
	if e := f.Executions("reset"); len(e) != 1 || e[0].GetFailedCount() != 1 || e[0].GetCreator() != sandbox.Human {
		t.Errorf("executions %v", e)
	}
}
