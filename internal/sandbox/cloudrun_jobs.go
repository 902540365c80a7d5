package sandbox

import (
	"cmp"
	"context"
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
	"google.golang.org/protobuf/types/known/timestamppb"
)

// runJob is one Cloud Run job with its executions, oldest first.
type runJob struct {
	pb         *runpb.Job
	script     Job
	executions []*execution
	faults     jobFaults
}

// jobFaults are what a script has put in the way of the next run.
type jobFaults struct {
	bumpNext    bool
	runThenFail codes.Code
	failNext    string
}

func (j *runJob) short() string { return shortName(j.pb.GetName()) }

// findJob looks a job up by its full or short name. Caller holds the lock.
func (p *platform) findJob(name string) (*runJob, error) {
	j := p.jobs[shortName(name)]
	if j == nil || (strings.Contains(name, "/") && name != j.pb.GetName()) {
		return nil, status.Errorf(codes.NotFound, "Resource '%s' of kind 'JOB' in region '%s' in project '%s' does not exist.",
			shortName(name), p.cfg.Region, p.cfg.Project)
	}
	return j, nil
}

type jobsServer struct {
	runpb.UnimplementedJobsServer
	p *platform
}

// GetJob reads one job.
func (s jobsServer) GetJob(_ context.Context, req *runpb.GetJobRequest) (*runpb.Job, error) {
	s.p.lock()
	defer s.p.mu.Unlock()
	j, err := s.p.findJob(req.GetName())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(j.pb), nil
}

// RunJob honours etag, validate_only and overrides. Each call is a new execution; no request id tells two of them apart.
func (s jobsServer) RunJob(_ context.Context, req *runpb.RunJobRequest) (*longrunningpb.Operation, error) {
	now := s.p.lock()
	defer s.p.mu.Unlock()
	j, err := s.p.findJob(req.GetName())
	if err != nil {
		return nil, err
	}
	if j.faults.bumpNext {
		j.faults.bumpNext = false
		j.pb.Etag = s.p.nextEtag(now)
	}
	template, err := j.override(req)
	if err != nil {
		s.p.ledger.add(Entry{
			System: "cloud_run", Verb: "run_job_refused", Resource: j.short(), By: s.p.cfg.Caller,
			Detail: map[string]any{"code": status.Code(err).String(), "reason": status.Convert(err).Message()},
		})
		return nil, err
	}
	e := s.p.execute(j, template, s.p.cfg.Caller, now)
	if req.GetValidateOnly() {
		return e.operation()
	}
	s.p.commitExecution(j, e)
	if code := j.faults.runThenFail; code != codes.OK {
		j.faults.runThenFail = codes.OK
		return nil, status.Error(code, "the connection was lost while the answer was on its way")
	}
	return e.operation()
}

// override is the job's template as this execution runs it: "overrides will be applied to update the execution or task spec" (the API's
// own words on RunJobRequest). Arguments are replaced, variables merged.
func (j *runJob) override(req *runpb.RunJobRequest) (*runpb.ExecutionTemplate, error) {
	if etag := req.GetEtag(); etag != "" && etag != j.pb.GetEtag() {
		return nil, status.Errorf(codes.Aborted, "Conflict for resource '%s': version '%s' was specified but current version is '%s'.",
			j.short(), etag, j.pb.GetEtag())
	}
	t := proto.CloneOf(j.pb.GetTemplate())
	o := req.GetOverrides()
	if o.GetTaskCount() > 0 {
		t.TaskCount = o.GetTaskCount()
	}
	if o.GetTimeout() != nil {
		t.Template.Timeout = o.GetTimeout()
	}
	for _, c := range o.GetContainerOverrides() {
		i := slices.IndexFunc(t.GetTemplate().GetContainers(), func(have *runpb.Container) bool {
			return c.GetName() == "" || have.GetName() == c.GetName()
		})
		if i < 0 {
			return nil, status.Errorf(codes.InvalidArgument, "overrides.container_overrides.name: job has no container '%s'.", c.GetName())
		}
		overrideContainer(t.GetTemplate().GetContainers()[i], c)
	}
	return t, nil
}

func overrideContainer(into *runpb.Container, o *runpb.RunJobRequest_Overrides_ContainerOverride) {
	if len(o.GetArgs()) > 0 || o.GetClearArgs() {
		into.Args = o.GetArgs()
	}
	for _, v := range o.GetEnv() {
		into.Env = slices.DeleteFunc(into.Env, func(have *runpb.EnvVar) bool { return have.GetName() == v.GetName() })
		into.Env = append(into.Env, v)
	}
}

type executionsServer struct {
	runpb.UnimplementedExecutionsServer
	p *platform
}

// GetExecution reads one execution.
func (s executionsServer) GetExecution(_ context.Context, req *runpb.GetExecutionRequest) (*runpb.Execution, error) {
	parent, _, _ := strings.Cut(req.GetName(), "/executions/")
	s.p.lock()
	defer s.p.mu.Unlock()
	j, err := s.p.findJob(parent)
	if err != nil {
		return nil, err
	}
	for _, e := range j.executions {
		if e.pb.GetName() == req.GetName() {
			return proto.CloneOf(e.pb), nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "Resource '%s' of kind 'EXECUTION' in region '%s' does not exist.", shortName(req.GetName()), s.p.cfg.Region)
}

// ListExecutions lists a job's executions in no useful order, in pages of at most 100.
func (s executionsServer) ListExecutions(_ context.Context, req *runpb.ListExecutionsRequest) (*runpb.ListExecutionsResponse, error) {
	s.p.lock()
	defer s.p.mu.Unlock()
	j, err := s.p.findJob(req.GetParent())
	if err != nil {
		return nil, err
	}
	var all []*runpb.Execution
	for _, e := range j.executions {
		if !e.hidden {
			all = append(all, proto.CloneOf(e.pb))
		}
	}
	slices.SortFunc(all, func(a, b *runpb.Execution) int {
		return cmp.Compare(s.p.dice.rank(a.GetName()), s.p.dice.rank(b.GetName()))
	})
	page, token, err := paginate(all, req.GetPageSize(), req.GetPageToken(), 100)
	return &runpb.ListExecutionsResponse{Executions: page, NextPageToken: token}, err
}

// commitExecution makes an execution the job's newest and writes it down. Values of variables are not the ledger's business.
func (p *platform) commitExecution(j *runJob, e *execution) {
	j.executions = append(j.executions, e)
	j.pb.ExecutionCount++
	j.pb.Etag = p.nextEtag(e.pb.GetCreateTime().AsTime())
	p.showLatest(e)
	container := e.pb.GetTemplate().GetContainers()[0]
	names, operation := []string{}, ""
	for _, v := range container.GetEnv() {
		names = append(names, v.GetName())
		if v.GetName() == "REMEDIATOR_OPERATION" {
			operation = v.GetValue()
		}
	}
	p.ledger.add(Entry{System: "cloud_run", Verb: "run_job", Resource: j.short(), By: e.pb.GetCreator(), Detail: map[string]any{
		"execution": shortName(e.pb.GetName()), "args": container.GetArgs(), "env": names, "operation": operation, "etag_after": j.pb.GetEtag(),
	}})
}

// AddJob creates a job that has never run, or replaces it.
func (w *World) AddJob(script Job) error {
	if script.Name == "" {
		return fmt.Errorf("adding a job: it needs a name")
	}
	p := w.platform
	now := p.lock()
	defer p.mu.Unlock()
	script = script.withDefaults(p.cfg.Project)
	containers := []*runpb.Container{{Name: "job-1", Image: script.Image, Args: script.Args, Env: environment(script.Env)}}
	if script.Sidecar {
		containers = append(containers, &runpb.Container{Name: "sidecar-1", Image: script.Image})
	}
	p.jobs[script.Name] = &runJob{script: script, pb: &runpb.Job{
		Name: p.parent() + "/jobs/" + script.Name, Uid: p.dice.uuid(), Generation: 1, ObservedGeneration: 1, Labels: maps.Clone(script.Labels),
		CreateTime: timestamppb.New(now.Add(-30 * 24 * time.Hour)), UpdateTime: timestamppb.New(now.Add(-30 * 24 * time.Hour)),
		Creator: humanEmail, LastModifier: humanEmail, Etag: p.nextEtag(now),
		TerminalCondition: condition("Ready", true, "", now),
		Template: &runpb.ExecutionTemplate{TaskCount: 1, Parallelism: 1, Template: &runpb.TaskTemplate{
			Containers: containers, Retries: &runpb.TaskTemplate_MaxRetries{MaxRetries: 0},
		}},
	}}
	p.ledger.add(Entry{System: "cloud_run", Verb: "add_job", Resource: script.Name, By: Human})
	return nil
}
