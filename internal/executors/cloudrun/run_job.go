package cloudrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: "cloud_run.run_job",
		Doc:  "Runs a Cloud Run job that the target lists, a runbook in a container, once, and follows it to its end; what it prints is not read.",
		New:  func() executors.Action { return &runJob{} },
	})
}

const (
	defaultJobTime = 5 * time.Minute
	mostJobTime    = 9 * time.Minute // a change that takes ten is given to a human
	mostArgs       = 20
	argLimit       = 200
)

// runJob starts one execution of a job. There is no way back from it.
type runJob struct {
	// Job is the short name of the job; the target's section cloud_run must list it under jobs.
	Job string `yaml:"job" rules:"required"`
	// Args replace the arguments of the job's container. They are shown in notes. Default: the job's own.
	Args []string `yaml:"args"`
	// Env adds environment variables to those of the job's container. They are shown in notes: what must not be seen belongs into the job, from
	// Secret Manager.
	Env map[string]string `yaml:"env"`
	// Timeout is how long the job's task may run before Cloud Run ends it; default 5m, at most 9m.
	Timeout time.Duration `yaml:"timeout"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *runJob) Validate(t executors.Target) error {
	s, err := section(t)
	if err != nil {
		return needsSection(t)
	}
	switch {
	case a.Job == "":
		return errors.New("job must be given")
	case !slices.Contains(s.Jobs, a.Job):
		return fmt.Errorf("the target does not list the job %q: add it to jobs in its section cloud_run", a.Job)
	case a.Timeout < 0 || a.Timeout > 0 && a.Timeout < time.Second || a.Timeout > mostJobTime:
		return fmt.Errorf("timeout must be between 1s and %.0fm", mostJobTime.Minutes())
	case len(a.Args) > mostArgs || slices.ContainsFunc(a.Args, unfit):
		return fmt.Errorf("args must be at most %d, each one line of at most %d characters", mostArgs, argLimit)
	}
	return a.checkEnv()
}

func (a *runJob) checkEnv() error {
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		if name == operationVariable {
			return fmt.Errorf("%s is what remediator marks its executions with", name)
		}
		if err := (EnvValue{Value: a.Env[name]}).check(name); err != nil {
			return err
		}
	}
	return nil
}

func unfit(arg string) bool {
	return len(arg) > argLimit || strings.ContainsFunc(arg, unicode.IsControl)
}

// jobPlan is the data of a planned execution.
type jobPlan struct {
	Job       string            `json:"job"` // full name
	Container string            `json:"container"`
	Args      []string          `json:"args,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	Timeout   time.Duration     `json:"timeout"`
	Newest    time.Time         `json:"newest"` // when the newest execution was created that the plan knows, by Cloud Run's clock; zero: none
}

// Plan implements executors.Action.
func (a *runJob) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	if err := a.Validate(env.Target); err != nil {
		return executors.Change{}, guard.Refuse(guard.OutOfBounds, "%s", err)
	}
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	if err := held(s); err != nil {
		return executors.Change{}, err
	}
	if err := handed(env, s); err != nil {
		return executors.Change{}, err
	}
	name := api.jobName(a.Job)
	job, err := api.job(ctx, name)
	if err != nil {
		return executors.Change{}, err
	}
	if err := runnable(job); err != nil {
		return executors.Change{}, err
	}
	past, err := api.executions(ctx, name)
	if err != nil {
		return executors.Change{}, err
	}
	if err := idle(job, past); err != nil {
		return executors.Change{}, err
	}
	return a.change(env, job, past)
}

// runnable refuses a job that people hold, or that cannot be run as the rule says.
func runnable(job *runpb.Job) error {
	name := short(job.GetName())
	_, label := job.GetLabels()[hold]
	_, annotation := job.GetAnnotations()[hold]
	containers := job.GetTemplate().GetTemplate().GetContainers()
	switch {
	case label || annotation:
		return guard.Refuse(guard.Held, "the job %s carries the label or annotation %s", name, hold)
	case job.GetReconciling() || job.GetObservedGeneration() != job.GetGeneration():
		return guard.Refuse(guard.Reconciling, "a change of the job %s is under way", name)
	case job.GetDeleteTime() != nil || job.GetTerminalCondition().GetState() != runpb.Condition_CONDITION_SUCCEEDED:
		return guard.Refuse(guard.UnknownFacts, "the job %s does not say that it can be run", name)
	case len(containers) != 1:
		return guard.Refuse(guard.OutOfBounds, "the job %s has %d containers, and arguments are for one", name, len(containers))
	}
	return nil
}

// idle refuses a job that is at work: two runs of a runbook at once are nobody's plan.
func idle(job *runpb.Job, past []*runpb.Execution) error {
	for _, e := range past {
		if e.GetCompletionTime() == nil {
			return guard.Refuse(guard.Reconciling, "the execution %s of the job %s is under way", short(e.GetName()), short(job.GetName()))
		}
	}
	return listed(job, past)
}

// listed refuses where the list of executions lacks the newest that the job names: what has run cannot be told.
func listed(job *runpb.Job, past []*runpb.Execution) error {
	newest := short(job.GetLatestCreatedExecution().GetName())
	if newest != "" && !slices.ContainsFunc(past, func(e *runpb.Execution) bool { return short(e.GetName()) == newest }) {
		return guard.Refuse(guard.UnknownFacts, "the newest execution %s of the job %s is not listed yet", newest, short(job.GetName()))
	}
	return nil
}

func (a *runJob) change(env executors.Env, job *runpb.Job, past []*runpb.Execution) (executors.Change, error) {
	container := job.GetTemplate().GetTemplate().GetContainers()[0]
	plan := jobPlan{
		Job: job.GetName(), Container: container.GetName(), Args: a.Args, Env: a.Env, Timeout: cmp.Or(a.Timeout, defaultJobTime), Newest: newestOf(past),
	}
	data, err := json.Marshal(plan)
	if err != nil {
		return executors.Change{}, fmt.Errorf("writing the data of a plan: %w", err)
	}
	before, after := plan.states(imageOf(job.GetTemplate().GetTemplate().GetContainers()))
	return executors.Change{
		Kind: "cloud_run.run_job", Target: env.Target.Name, Summary: fmt.Sprintf("run the job %s once, for at most %s", a.Job, plan.Timeout),
		Before: before, After: after, Etag: job.GetEtag(), Data: data, Selects: []string{job.GetName()}, PlannedAt: env.Now,
		UndoHint: fmt.Sprintf("what a job has done is not taken back; while it runs, gcloud run jobs executions cancel EXECUTION, which gcloud run jobs executions list --job=%s names", a.Job),
		Evidence: []string{lastRun(a.Job, past)},
	}, nil
}

// states say what people see of the plan: an approval is of this image and these arguments.
func (p jobPlan) states(image string) (before, after executors.State) {
	before = executors.State{"job": short(p.Job), "image": image, "execution": "none", "timeout": "the job's", "args": "the job's"}
	after = executors.State{"job": short(p.Job), "image": image, "execution": "one that succeeds", "timeout": p.Timeout.String(), "args": "the job's"}
	if len(p.Args) > 0 {
		after["args"] = fmt.Sprintf("%q", p.Args)
	}
	for name, value := range p.Env {
		before["env "+name], after["env "+name] = "the job's", EnvValue{Value: value}.shown()
	}
	return before, after
}

func newestOf(all []*runpb.Execution) (newest time.Time) {
	for _, e := range all {
		if at := e.GetCreateTime().AsTime(); at.After(newest) {
			newest = at
		}
	}
	return newest
}

func lastRun(job string, past []*runpb.Execution) string {
	newest := newestOf(past)
	for _, e := range past {
		if e.GetCreateTime().AsTime().Equal(newest) {
			return fmt.Sprintf("nothing of the job %s is running; it ran last at %s (%s)", job, clock(newest), fate(e).words)
		}
	}
	return fmt.Sprintf("the job %s has not run yet", job)
}

// Apply implements executors.Action. The execution carries the operation id in a variable. A call for the same step that landed late, after it
// was taken for lost, is a lost precondition.
func (a *runJob) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	plan, api, err := resumeJob(env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	past, err := api.executions(ctx, plan.Job)
	if err != nil {
		return executors.Receipt{}, err
	}
	if ours := ofStep(past, operation); len(ours) > 0 {
		return executors.Receipt{}, alreadyRun(ours[0])
	}
	handle, err := api.run(ctx, plan, c.Etag, operation)
	return executors.Receipt{Handle: handle}, err
}

// Observe implements executors.Action.
func (a *runJob) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	plan, api, err := resumeJob(env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	if strings.Contains(r.Handle, "/executions/") {
		e, err := api.execution(ctx, r.Handle)
		if err != nil {
			return executors.Observation{}, err
		}
		return plan.observed(c, e), nil
	}
	job, err := api.job(ctx, plan.Job)
	if err != nil {
		return executors.Observation{}, err
	}
	all, err := api.executions(ctx, plan.Job)
	if err != nil {
		return executors.Observation{}, err
	}
	return plan.search(c, job, all, operation, r), nil
}

// Undo implements executors.Action: there is none.
func (a *runJob) Undo(_ context.Context, _ executors.Env, c executors.Change) (executors.Change, error) {
	return executors.Change{}, guard.Refuse(guard.NothingToDo, "what a job has done cannot be taken back (%s)", c.Summary)
}

// resumeJob opens the clients for a run that was planned earlier, perhaps by another process.
func resumeJob(env executors.Env, c executors.Change) (jobPlan, *client, error) {
	var plan jobPlan
	if err := json.Unmarshal(c.Data, &plan); err != nil {
		return jobPlan{}, nil, fmt.Errorf("reading the data of a planned %s: %w", c.Kind, err)
	}
	api, err := open(env)
	if err != nil {
		return jobPlan{}, nil, err
	}
	if api.jobName(short(plan.Job)) != plan.Job {
		return jobPlan{}, nil, fmt.Errorf("the plan is for %s, which is not where target %s is now", plan.Job, env.Target.Name)
	}
	return plan, api, nil
}
