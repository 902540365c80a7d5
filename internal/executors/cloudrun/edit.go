package cloudrun

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
)

// edit is a change's Data: what is written, and what the service was like before. It holds no environment of the service (that may
// be secret): a new revision is copied from its base again when the change is applied.
type edit struct {
	Service string            `json:"service"` // full resource name
	Marks   map[string]string `json:"marks"`   // service annotations to set; an empty value removes
	Other   map[string]string `json:"other"`   // the service's other annotations, written back as they were
	Traffic []target          `json:"traffic,omitempty"`
	Bounds  *bounds           `json:"bounds,omitempty"` // service-level scaling
	Rebase  *rebase           `json:"rebase,omitempty"`
	Former  material          `json:"former"`
}

// bounds are numbers of instances; 0 is unset.
type bounds struct {
	Min int32 `json:"min"`
	Max int32 `json:"max"`
}

// material is the state that matters: etag and generation change by the platform's own hand and do not count.
type material struct {
	Traffic  []target          `json:"traffic"`
	Template string            `json:"template"` // digest
	Created  string            `json:"created"`  // latest created revision
	Serving  string            `json:"serving"`  // revision that carried all traffic, "" if split
	Bounds   bounds            `json:"bounds"`
	Marks    map[string]string `json:"marks,omitempty"`
}

func materialOf(s *runpb.Service) material {
	serving, _ := soleServing(s)
	return material{
		Traffic:  targetsOf(s),
		Template: templateDigest(s.GetTemplate()),
		Created:  short(s.GetLatestCreatedRevision()),
		Serving:  serving,
		Bounds:   boundsOf(s),
		Marks:    ours(s.GetAnnotations()),
	}
}

func boundsOf(s *runpb.Service) bounds {
	return bounds{Min: s.GetScaling().GetMinInstanceCount(), Max: s.GetScaling().GetMaxInstanceCount()}
}

// same reports that nothing that matters differs; which revision serves meanwhile is the platform's to say.
func (m material) same(o material) bool {
	return slices.Equal(m.Traffic, o.Traffic) && m.Template == o.Template && m.Created == o.Created && m.Bounds == o.Bounds
}

// newEdit starts an edit of the service as it was read.
func newEdit(s *runpb.Service) edit {
	other := writable(s.GetAnnotations())
	maps.DeleteFunc(other, isMark)
	return edit{Service: s.GetName(), Marks: map[string]string{}, Other: other, Former: materialOf(s)}
}

// annotations is the whole map to write: a mask cannot name a single annotation.
func (e edit) annotations(operation string, planned time.Time) map[string]string {
	out := maps.Clone(e.Other)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, e.Former.Marks)
	maps.Copy(out, e.Marks)
	out[markOperation], out[markPlanned] = operation, stamp(planned)
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// stamp is how times are written in marks.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// request is the service to write, without its template, and the mask of what it says.
func (e edit) request(c executors.Change, operation string) (*runpb.Service, []string) {
	s := &runpb.Service{Name: e.Service, Etag: c.Etag, Annotations: e.annotations(operation, c.PlannedAt)}
	mask := []string{"annotations"}
	if e.Traffic != nil {
		s.Traffic = messages(e.Traffic)
		mask = append(mask, "traffic")
	}
	if e.Bounds != nil {
		s.Scaling = &runpb.ServiceScaling{MinInstanceCount: e.Bounds.Min, MaxInstanceCount: e.Bounds.Max}
		if e.Bounds.Min != e.Former.Bounds.Min {
			mask = append(mask, "scaling.min_instance_count")
		}
		if e.Bounds.Max != e.Former.Bounds.Max {
			mask = append(mask, "scaling.max_instance_count")
		}
	}
	if e.Rebase != nil {
		mask = append(mask, "template")
	}
	return s, mask
}

// wished is the service's material state once the edit has landed; a new template and its revision are judged apart.
func (e edit) wished() material {
	m := e.Former
	if e.Traffic != nil {
		m.Traffic = normal(e.Traffic)
	}
	if e.Bounds != nil {
		m.Bounds = *e.Bounds
	}
	return m
}

func normal(targets []target) []target { return targetsOf(&runpb.Service{Traffic: messages(targets)}) }

// reading is one look at the service after Apply.
type reading struct {
	Service   *runpb.Service
	Created   *runpb.Revision // latest created revision; read only for edits that make one
	Operation operation
	Handle    string // the receipt's; "" when Apply never answered
}

// judge says what became of an edit. It is the whole of Observe except for the reading.
func (e edit) judge(r reading, id string) executors.Observation {
	s := r.Service
	out := executors.Observation{State: stateOf(s)}
	marked := s.GetAnnotations()[markOperation] == id
	if late := e.lateCall(r, id); late != "" {
		id, marked = late, true
	}
	switch {
	case !marked:
		out.Progress, out.Detail = e.unmarked(r)
	case !e.landed(r, id):
		out.Progress, out.Detail = executors.Foreign, "the change was accepted, and then "+whoChanged(s)
	default:
		out.Progress, out.Detail = e.settled(r, id)
	}
	return out
}

// lateCall gives the id of an earlier call of the same run that landed after it was taken for lost: the change is ours all the same.
func (e edit) lateCall(r reading, id string) string {
	found := r.Service.GetAnnotations()[markOperation]
	if found == id || runOf(found) != runOf(id) || e.Former.same(materialOf(r.Service)) || !e.landed(r, found) {
		return ""
	}
	return found
}

// runOf cuts the step and the attempt off an operation id (RUN-STEP-ATTEMPT).
func runOf(operation string) string {
	for range 2 {
		if i := strings.LastIndexByte(operation, '-'); i >= 0 {
			operation = operation[:i]
		}
	}
	return operation
}

// unmarked: the operation id is not on the service.
func (e edit) unmarked(r reading) (executors.Progress, string) {
	unchanged := e.Former.same(materialOf(r.Service))
	switch {
	case unchanged && r.Operation.Failure != "":
		return executors.Failed, r.Operation.Failure
	case unchanged && r.Handle == "":
		return executors.NotApplied, "the service is as it was when the change was planned"
	case unchanged && r.Operation.Known && !r.Operation.Done:
		return executors.Pending, "the change was accepted and does not show yet"
	default:
		return executors.Foreign, whoChanged(r.Service)
	}
}

func whoChanged(s *runpb.Service) string {
	who := cmp.Or(s.GetLastModifier(), "somebody")
	return fmt.Sprintf("%s changed the service (%s serves, newest revision %s)", who, describeShares(s),
		cmp.Or(short(s.GetLatestCreatedRevision()), "unknown"))
}

// landed: what was written is still what the service wishes.
func (e edit) landed(r reading, id string) bool {
	now, want := materialOf(r.Service), e.wished()
	if e.Rebase != nil {
		t := r.Service.GetTemplate()
		if t.GetAnnotations()[markOperation] != id || configDigest(t.GetContainers(), t.GetServiceAccount()) != e.Rebase.Config {
			return false
		}
		if r.Created.GetAnnotations()[markOperation] != id && now.Created != e.Former.Created {
			return false
		}
		now.Template, now.Created = want.Template, want.Created
	}
	return now.same(want)
}

// settled tells how far the platform has come with what it was told.
func (e edit) settled(r reading, id string) (executors.Progress, string) {
	s := r.Service
	running := r.Operation.Known && !r.Operation.Done
	problem := r.Operation.Failure
	if problem == "" && s.GetTerminalCondition().GetState() == runpb.Condition_CONDITION_FAILED {
		problem = s.GetTerminalCondition().GetMessage()
	}
	switch {
	case deploying(s) || running:
		return executors.Pending, describeShares(s)
	case e.Traffic == nil && e.Rebase == nil:
		return e.settledBounds(r.Operation, problem)
	case e.reached(r, id):
		return executors.Applied, describeShares(s)
	case problem != "":
		return executors.Failed, problem
	default:
		return executors.Pending, describeShares(s)
	}
}

// settledBounds: nothing that can be observed follows from bounds at once, so only the operation can tell of a failure. Without it, a
// service that reports a problem leaves it open whose problem that is.
func (e edit) settledBounds(op operation, problem string) (executors.Progress, string) {
	switch {
	case op.Failure != "":
		return executors.Failed, op.Failure
	case !op.Known && problem != "":
		return executors.Unclear, "the bounds are as wished, but the service reports: " + problem
	default:
		return executors.Applied, fmt.Sprintf("bounds %d to %s", e.Bounds.Min, showMax(e.Bounds.Max))
	}
}

// reached: the observed state is the wished one.
func (e edit) reached(r reading, id string) bool {
	serving, sole := soleServing(r.Service)
	if e.Rebase != nil {
		made := r.Created.GetAnnotations()[markOperation] == id && ready(r.Created)
		_, pinned := pin(targetsOf(r.Service))
		return made && (pinned || sole && serving == short(r.Created.GetName()))
	}
	revision, pinned := pin(e.Traffic)
	if !pinned {
		revision = short(r.Service.GetLatestReadyRevision())
	}
	return sole && serving == revision
}

// stateOf shows the parts of a service that changes alter.
func stateOf(s *runpb.Service) executors.State {
	b := boundsOf(s)
	return executors.State{
		"serving":       describeShares(s),
		"allocation":    describeAllocation(targetsOf(s)),
		"min_instances": strconv.Itoa(int(b.Min)),
		"max_instances": showMax(b.Max),
	}
}

func showMax[N int32 | int64](n N) string {
	if n == 0 {
		return "unset"
	}
	return strconv.FormatInt(int64(n), 10)
}

func decode(c executors.Change) (edit, error) {
	var e edit
	if err := json.Unmarshal(c.Data, &e); err != nil {
		return edit{}, fmt.Errorf("reading the data of a planned %s: %w", c.Kind, err)
	}
	return e, nil
}

func encode(e edit) (json.RawMessage, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("writing the data of a plan: %w", err)
	}
	return data, nil
}
