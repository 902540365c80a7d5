package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// operationVariable is the environment variable by which an execution of ours is known. RunJob takes no label and no request id, and each call
// is a new execution; what it overrides is part of the execution that it makes.
const operationVariable = "REMEDIATOR_OPERATION"

// mostExecutions is how many executions are read of a job. Cloud Run keeps at most 1000 (its quotas page).
const mostExecutions = 2000

func (c *client) jobName(job string) string {
	return fmt.Sprintf("projects/%s/locations/%s/jobs/%s", c.project, c.region, job)
}

func (c *client) job(ctx context.Context, name string) (*runpb.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	jobs, err := c.google.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	j, err := jobs.GetJob(ctx, &runpb.GetJobRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("reading job %s: %w", short(name), err)
	}
	return j, nil
}

func (c *client) execution(ctx context.Context, name string) (*runpb.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	executions, err := c.google.Executions(ctx)
	if err != nil {
		return nil, err
	}
	e, err := executions.GetExecution(ctx, &runpb.GetExecutionRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("reading execution %s: %w", short(name), err)
	}
	return e, nil
}

// executions reads all executions of a job. The API promises no order and cannot filter.
func (c *client) executions(ctx context.Context, job string) ([]*runpb.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	executions, err := c.google.Executions(ctx)
	if err != nil {
		return nil, err
	}
	var all []*runpb.Execution
	for it := executions.ListExecutions(ctx, &runpb.ListExecutionsRequest{Parent: job}); ; {
		e, err := it.Next()
		switch {
		case errors.Is(err, iterator.Done):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("listing executions of %s: %w", short(job), err)
		case len(all) == mostExecutions:
			return nil, fmt.Errorf("listing executions of %s: there are more than %d", short(job), mostExecutions)
		}
		all = append(all, e)
	}
}

// run starts an execution under the job's etag and gives its name, or the operation's where the answer does not tell it. It is never retried.
func (c *client) run(ctx context.Context, p jobPlan, etag, operation string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	jobs, err := c.google.Jobs(ctx)
	if err != nil {
		return "", err
	}
	op, err := jobs.RunJob(ctx, &runpb.RunJobRequest{Name: p.Job, Etag: etag, Overrides: p.overrides(operation)})
	if err != nil {
		return "", fmt.Errorf("running job %s: %w", short(p.Job), err)
	}
	if e, err := op.Metadata(); err == nil && e.GetName() != "" {
		return e.GetName(), nil
	}
	return op.Name(), nil
}

func (p jobPlan) overrides(operation string) *runpb.RunJobRequest_Overrides {
	variable := func(name, value string) *runpb.EnvVar {
		return &runpb.EnvVar{Name: name, Values: &runpb.EnvVar_Value{Value: value}}
	}
	o := &runpb.RunJobRequest_Overrides_ContainerOverride{Name: p.Container, Args: p.Args, Env: []*runpb.EnvVar{variable(operationVariable, operation)}}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		o.Env = append(o.Env, variable(name, p.Env[name]))
	}
	return &runpb.RunJobRequest_Overrides{
		ContainerOverrides: []*runpb.RunJobRequest_Overrides_ContainerOverride{o}, Timeout: durationpb.New(p.Timeout),
	}
}

// operationOf is the operation id that an execution carries, "" if it is none of ours.
func operationOf(e *runpb.Execution) string {
	for _, container := range e.GetTemplate().GetContainers() {
		for _, v := range container.GetEnv() {
			if v.GetName() == operationVariable {
				return v.GetValue()
			}
		}
	}
	return ""
}

// ofStep are the executions that calls for the same step of a run have made. Its attempts are one wish.
func ofStep(all []*runpb.Execution, operation string) (ours []*runpb.Execution) {
	for _, e := range all {
		if id := operationOf(e); id == operation || id != "" && stepOf(id) == stepOf(operation) {
			ours = append(ours, e)
		}
	}
	return ours
}

// stepOf cuts the attempt off an operation id (RUN-STEP-ATTEMPT).
func stepOf(operation string) string {
	if i := strings.LastIndexByte(operation, '-'); i >= 0 {
		return operation[:i]
	}
	return operation
}

// alreadyRun is the lost precondition of a call whose execution there is already.
func alreadyRun(e *runpb.Execution) error {
	return fmt.Errorf("the job was not run again: %w", status.Errorf(codes.Aborted, "%s was made for this step", short(e.GetName())))
}

// search finds what became of a call without an answer.
func (p jobPlan) search(c executors.Change, job *runpb.Job, all []*runpb.Execution, operation string, r executors.Receipt) executors.Observation {
	ours := ofStep(all, operation)
	switch {
	case len(ours) > 1:
		return executors.Observation{Progress: executors.Unclear, Detail: fmt.Sprintf("there are %d executions of this step: %s", len(ours), names(ours))}
	case len(ours) == 1:
		return p.observed(c, ours[0])
	case r.Handle != "":
		return executors.Observation{Progress: executors.Pending, Detail: "the call was accepted, and its execution does not show yet"}
	}
	if err := listed(job, all); err != nil {
		return executors.Observation{Progress: executors.Unclear, Detail: err.Error()}
	}
	// Whose an execution without a mark is cannot be told for certain: it may be that Cloud Run does not show what was overridden.
	unmarked := slices.DeleteFunc(slices.Clone(all), func(e *runpb.Execution) bool {
		return !e.GetCreateTime().AsTime().After(p.Newest) || operationOf(e) != ""
	})
	if len(unmarked) > 0 {
		return executors.Observation{Progress: executors.Unclear, Detail: fmt.Sprintf("since the plan was made %s began to run, without our mark", names(unmarked))}
	}
	return executors.Observation{Progress: executors.NotApplied, Detail: "the job has no execution of this step"}
}

func names(all []*runpb.Execution) string {
	var out []string
	for _, e := range all {
		out = append(out, fmt.Sprintf("%s (by %s at %s)", short(e.GetName()), cmp.Or(e.GetCreator(), "somebody"), clock(e.GetCreateTime().AsTime())))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// end is how an execution stands.
type end struct {
	progress executors.Progress
	words    string
}

// sentenceLimit bounds what is told of Cloud Run's own sentence about a failure.
const sentenceLimit = 200

// fate reads how an execution stands from what Cloud Run says of it. What the job prints is not looked at: it may hold a new password.
func fate(e *runpb.Execution) end {
	done := condition(e.GetConditions(), "Completed")
	tasks := fmt.Sprintf("%d of %d tasks", e.GetSucceededCount(), e.GetTaskCount())
	switch {
	case done.GetState() == runpb.Condition_CONDITION_SUCCEEDED && e.GetFailedCount()+e.GetCancelledCount() == 0:
		return end{executors.Applied, "succeeded (" + tasks + ")"}
	case e.GetCancelledCount() > 0 || done.GetExecutionReason() == runpb.Condition_CANCELLED:
		return end{executors.Failed, "was cancelled (" + tasks + " succeeded)"}
	case done.GetState() == runpb.Condition_CONDITION_FAILED:
		return end{executors.Failed, "failed (" + tasks + " succeeded): " + connect.Scrub(done.GetMessage(), sentenceLimit)}
	case e.GetCompletionTime() != nil:
		return end{executors.Unclear, "has ended, and does not say how (" + tasks + " succeeded)"}
	default:
		return end{executors.Pending, fmt.Sprintf("is running (%s have succeeded)", tasks)}
	}
}

// observed tells of an execution of ours.
func (p jobPlan) observed(c executors.Change, e *runpb.Execution) executors.Observation {
	f := fate(e)
	detail := fmt.Sprintf("execution %s %s", short(e.GetName()), f.words)
	if e.GetCompletionTime() != nil && e.GetStartTime() != nil {
		detail += " after " + e.GetCompletionTime().AsTime().Sub(e.GetStartTime().AsTime()).Round(time.Second).String()
	}
	state := maps.Clone(c.After)
	state["execution"] = short(e.GetName()) + " " + f.words
	if at := logOf(e); at != "" {
		state["log"] = at
		detail += "; its log: " + at
	}
	return executors.Observation{Progress: f.progress, Detail: detail, State: state}
}

// logOf is where people read what the job has printed.
func logOf(e *runpb.Execution) string {
	const console, limit = "https://console.cloud.google.com/", 1000
	if at := e.GetLogUri(); strings.HasPrefix(at, console) && len(at) <= limit && !strings.ContainsAny(at, " \t\r\n<>\"") {
		return at
	}
	return ""
}
