package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Job scripts a Cloud Run job.
type Job struct {
	Name    string            `json:"name"`
	Image   string            `json:"image,omitempty"` // default one of its name
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Takes   time.Duration     `json:"takes,omitempty"`   // how long an execution runs, divided by Speed; default 5 s
	Fails   bool              `json:"fails,omitempty"`   // its container exits with 1
	Hangs   bool              `json:"hangs,omitempty"`   // an execution never ends
	Sidecar bool              `json:"sidecar,omitempty"` // it has a second container
}

func (j Job) withDefaults(project string) Job {
	if j.Image == "" {
		j.Image = "europe-docker.pkg.dev/" + project + "/app/" + j.Name + "@sha256:" + strings.Repeat("0", 64)
	}
	if j.Takes == 0 {
		j.Takes = 5 * time.Second
	}
	return j
}

// execution is one run of a job. It ends at due, unless it hangs.
type execution struct {
	pb      *runpb.Execution
	job     *runJob
	name    string // of its operation
	due     time.Time
	failure string // how it ends; "" well
	hangs   bool
	hidden  bool // lists do not show it yet
}

// exitFailure is what Cloud Run says of a container that exits with 1.
const exitFailure = "Task %s-task0 failed with message: The container exited with an error."

// execute begins an execution of the template.
func (p *platform) execute(j *runJob, t *runpb.ExecutionTemplate, by string, now time.Time) *execution {
	short := j.short() + "-" + strings.ToLower(p.dice.id("")[:5])
	e := &execution{
		job: j, name: p.parent() + "/operations/" + p.dice.uuid(), due: now.Add(p.cfg.scaled(j.script.Takes)),
		hangs: j.script.Hangs, failure: j.faults.failNext,
		pb: &runpb.Execution{
			Name: j.pb.GetName() + "/executions/" + short, Uid: p.dice.uuid(), Creator: by, Generation: 1, ObservedGeneration: 1,
			CreateTime: timestamppb.New(now), StartTime: timestamppb.New(now), UpdateTime: timestamppb.New(now),
			Job: j.short(), TaskCount: max(1, t.GetTaskCount()), Parallelism: max(1, t.GetParallelism()), Template: t.GetTemplate(),
			RunningCount: 1, Reconciling: true, Etag: p.nextEtag(now),
			Conditions: []*runpb.Condition{{Type: "Completed", State: runpb.Condition_CONDITION_RECONCILING, LastTransitionTime: timestamppb.New(now)}},
			LogUri: "https://console.cloud.google.com/logs/viewer?project=" + p.cfg.Project +
				"&advancedFilter=resource.type%3D%22cloud_run_job%22%0Aresource.labels.job_name%3D%22" + j.short() + "%22",
		},
	}
	if j.script.Fails && e.failure == "" {
		e.failure = fmt.Sprintf(exitFailure, short)
	}
	if e.failure != "" {
		e.hangs = false
	}
	j.faults.failNext = ""
	return e
}

// settleJobs ends the executions that have come due.
func (p *platform) settleJobs(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(p.jobs)) {
		for _, e := range p.jobs[name].executions {
			if e.pb.GetCompletionTime() == nil && !e.hangs && !e.due.After(now) {
				p.end(e)
			}
		}
	}
}

func (p *platform) end(e *execution) {
	e.pb.CompletionTime, e.pb.UpdateTime = timestamppb.New(e.due), timestamppb.New(e.due)
	e.pb.RunningCount, e.pb.Reconciling = 0, false
	done := condition("Completed", e.failure == "", e.failure, e.due)
	if e.failure == "" {
		e.pb.SucceededCount = 1
		done.Message = "Execution completed successfully."
	} else {
		e.pb.FailedCount = 1
		done.Reasons = &runpb.Condition_ExecutionReason_{ExecutionReason: runpb.Condition_NON_ZERO_EXIT_CODE}
	}
	e.pb.Conditions = []*runpb.Condition{done}
	e.job.pb.Etag = p.nextEtag(e.due)
	p.showLatest(e)
}

// showLatest lets the job tell how its newest execution stands.
func (p *platform) showLatest(e *execution) {
	all := e.job.executions
	if len(all) == 0 || all[len(all)-1] != e {
		return
	}
	state := runpb.ExecutionReference_EXECUTION_RUNNING
	if e.pb.GetCompletionTime() != nil {
		state = pick(e.failure == "", runpb.ExecutionReference_EXECUTION_SUCCEEDED, runpb.ExecutionReference_EXECUTION_FAILED)
	}
	e.job.pb.LatestCreatedExecution = &runpb.ExecutionReference{
		Name: shortName(e.pb.GetName()), CreateTime: e.pb.GetCreateTime(), CompletionTime: e.pb.GetCompletionTime(), CompletionStatus: state,
	}
}

// operation is the long-running operation that ends with the execution.
func (e *execution) operation() (*longrunningpb.Operation, error) {
	packed, err := anypb.New(e.pb)
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", e.pb.GetName(), err)
	}
	out := &longrunningpb.Operation{Name: e.name, Metadata: packed, Done: e.pb.GetCompletionTime() != nil}
	switch {
	case out.Done && e.failure != "":
		out.Result = &longrunningpb.Operation_Error{Error: status.New(codes.Unknown, e.failure).Proto()}
	case out.Done:
		out.Result = &longrunningpb.Operation_Response{Response: packed}
	}
	return out, nil
}

// executionOf finds the execution behind an operation. Caller holds the lock.
func (p *platform) executionOf(operation string) *execution {
	for _, j := range p.jobs {
		for _, e := range j.executions {
			if e.name == operation {
				return e
			}
		}
	}
	return nil
}

func (p *platform) withJob(name string, f func(j *runJob, now time.Time)) error {
	now := p.lock()
	defer p.mu.Unlock()
	j, err := p.findJob(name)
	if err != nil {
		return fmt.Errorf("finding job %q: %w", name, err)
	}
	f(j, now)
	return nil
}

// Executions are copies of a job's executions as the API shows them, oldest first; nil if there is no such job.
func (w *World) Executions(job string) (out []*runpb.Execution) {
	_ = w.platform.withJob(job, func(j *runJob, _ time.Time) {
		for _, e := range j.executions {
			out = append(out, proto.CloneOf(e.pb))
		}
	})
	return out
}

// RunJobByHand is a human's run of the job; it returns the execution's short name.
func (w *World) RunJobByHand(job string) (string, error) {
	name := ""
	err := w.platform.withJob(job, func(j *runJob, now time.Time) {
		e := w.platform.execute(j, proto.CloneOf(j.pb.GetTemplate()), Human, now)
		w.platform.commitExecution(j, e)
		name = shortName(e.pb.GetName())
	})
	return name, err
}

// RunJobThenFail lets the next run of the job take effect but answers it with code.
func (w *World) RunJobThenFail(job string, code codes.Code) error {
	return w.platform.withJob(job, func(j *runJob, _ time.Time) { j.faults.runThenFail = code })
}

// FailNextExecution lets the next execution of the job fail with the message, without running.
func (w *World) FailNextExecution(job, message string) error {
	return w.platform.withJob(job, func(j *runJob, _ time.Time) { j.faults.failNext = message })
}

// BumpJobEtagBeforeNextRun changes the job's etag just before the next run is judged.
func (w *World) BumpJobEtagBeforeNextRun(job string) error {
	return w.platform.withJob(job, func(j *runJob, _ time.Time) { j.faults.bumpNext = true })
}

// HideExecutions keeps the executions that the job has so far out of lists, as a list that is not up to date yet.
func (w *World) HideExecutions(job string) error {
	return w.platform.withJob(job, func(j *runJob, _ time.Time) {
		for _, e := range j.executions {
			e.hidden = true
		}
	})
}

// EndExecutions ends all executions of the job that run now, with a failure or, if it is "", well.
func (w *World) EndExecutions(job, failure string) error {
	return w.platform.withJob(job, func(j *runJob, now time.Time) {
		for _, e := range j.executions {
			if e.pb.GetCompletionTime() == nil {
				e.failure, e.hangs, e.due = failure, false, now
				w.platform.end(e)
			}
		}
	})
}

// SetJobLabels is a human's change of the job's labels, all of them.
func (w *World) SetJobLabels(job string, labels map[string]string) error {
	return w.platform.withJob(job, func(j *runJob, now time.Time) {
		j.pb.Labels = maps.Clone(labels)
		j.pb.Generation++
		j.pb.ObservedGeneration = j.pb.GetGeneration()
		j.pb.Etag, j.pb.UpdateTime = w.platform.nextEtag(now), timestamppb.New(now)
		w.ledger.add(Entry{System: "cloud_run", Verb: "set_job_labels", Resource: j.short(), By: Human})
	})
}

type aboutJob struct {
	Job     string            `json:"job"`
	Message string            `json:"message"`
	Code    codes.Code        `json:"code"`
	Labels  map[string]string `json:"labels"`
}

// jobVerbs are the control verbs about Cloud Run jobs.
func jobVerbs() map[string]verb {
	return map[string]verb{
		"add-job": only((*World).AddJob),
		"run-job": does(func(w *World, a aboutJob) (any, error) {
			name, err := w.RunJobByHand(a.Job)
			return object{"execution": name}, err
		}),
		"run-job-then-fail":             only(func(w *World, a aboutJob) error { return w.RunJobThenFail(a.Job, a.Code) }),
		"fail-next-execution":           only(func(w *World, a aboutJob) error { return w.FailNextExecution(a.Job, a.Message) }),
		"bump-job-etag-before-next-run": only(func(w *World, a aboutJob) error { return w.BumpJobEtagBeforeNextRun(a.Job) }),
		"hide-executions":               only(func(w *World, a aboutJob) error { return w.HideExecutions(a.Job) }),
		"end-executions":                only(func(w *World, a aboutJob) error { return w.EndExecutions(a.Job, a.Message) }),
		"set-job-labels":                only(func(w *World, a aboutJob) error { return w.SetJobLabels(a.Job, a.Labels) }),
	}
}
