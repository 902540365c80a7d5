package atlas

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const restoreKind = "atlas.restore_access_entry"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: restoreKind,
		Doc:  "Restores a recorded entry of the IP access list that has gone missing, for a bounded time; a human has to approve it.",
		New:  func() executors.Action { return &restore{} },
	})
}

// restore adds a recorded entry. It opens a database to a network: what connects through it meanwhile stays connected after the entry has
// gone, so there is no way back that would undo it, and a human has to approve it.
type restore struct {
	// Entry is one of the entries recorded under the target's atlas.access_list, written as it is there.
	Entry string `yaml:"entry" rules:"required"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *restore) Validate(t executors.Target) error {
	c, err := section(t)
	if err != nil {
		return err
	}
	_, err = a.opening(c, time.Hour)
	var no *guard.Refusal
	if errors.As(err, &no) {
		return errors.New(no.Detail)
	}
	return err
}

// opening is what is to be let in.
type opening struct {
	Network netip.Prefix
	Comment string
	Lasts   time.Duration
}

// opening judges the entry by itself: it is recorded, no wider than a change may name, and does not stay for ever.
func (a *restore) opening(c *Cluster, fallback time.Duration) (opening, error) {
	n, err := network(a.Entry)
	if err != nil {
		return opening{}, err
	}
	if n.Bits() == 0 {
		return opening{}, guard.Refuse(guard.TooWide, "%s is the whole internet, which is never let in", n)
	}
	e, ok := c.recorded(n)
	if !ok {
		return opening{}, guard.Refuse(guard.OutOfBounds, "%s is not recorded under the target's atlas.access_list", n)
	}
	o := opening{Network: n, Comment: e.Comment, Lasts: cmp.Or(e.Lasts, fallback)}
	if no := guard.Reaches(guard.Reach{Networks: []netip.Prefix{n}, Lasts: o.Lasts, Reversible: true}); no != nil {
		return opening{}, no
	}
	return o, nil
}

// kept is what a Change holds of itself.
type kept struct {
	Remove  bool          `json:"remove,omitempty"` // takes away again what the change has added
	Network netip.Prefix  `json:"network"`
	Comment string        `json:"comment"` // of the record; of the entry as it was read, to remove it
	Lasts   time.Duration `json:"lasts,omitempty"`
}

// Plan implements executors.Action.
func (a *restore) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	c, api, err := open(env)
	if err != nil {
		return executors.Change{}, err
	}
	o, err := a.opening(c, env.Scale(defaultLasts))
	if err != nil {
		return executors.Change{}, err
	}
	all, err := list(ctx, api, env.Now)
	if err != nil {
		return executors.Change{}, err
	}
	if no := needless(all, o.Network); no != nil {
		return executors.Change{}, no
	}
	said, err := removal(ctx, api, o.Network)
	if err != nil {
		return executors.Change{}, err
	}
	return o.change(env, api.Project, said)
}

// needless refuses to add what is there, whole or as a part of something wider.
func needless(all []entry, n netip.Prefix) error {
	if e, there := at(all, n); there {
		return guard.Refuse(guard.NothingToDo, "%s is on the access list%s", n, until(e.Ends))
	}
	if by := covering(all, n); by != nil {
		return guard.Refuse(guard.NothingToDo, "%s is let in by %s already%s", n, by[0].Network, until(ends(by)))
	}
	return nil
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + t.UTC().Format("2006-01-02 15:04 MST")
}

func (o opening) change(env executors.Env, project, said string) (executors.Change, error) {
	data, err := json.Marshal(kept{Network: o.Network, Comment: o.Comment, Lasts: o.Lasts})
	if err != nil {
		return executors.Change{}, fmt.Errorf("keeping the change: %w", err)
	}
	name := o.Network.String()
	return executors.Change{
		Kind: restoreKind, Target: env.Target.Name, Data: data, PlannedAt: env.Now, Etag: "absent " + name,
		Summary: fmt.Sprintf("let %s into Atlas project %s for %s: it is recorded and missing from the access list", name, project, o.Lasts),
		Before:  executors.State{name: "kept out"},
		After:   executors.State{name: "let in for " + o.Lasts.String()},
		Selects: []string{project + " " + name}, Networks: []netip.Prefix{o.Network},
		Lasts: o.Lasts, EndsItself: true, // by deleteAfterDate
		UndoHint: fmt.Sprintf("atlas accessLists delete %s --projectId %s; what has connected meanwhile may stay connected", name, project),
		Evidence: []string{fmt.Sprintf("%s is recorded as %q", name, connect.Line(o.Comment, wordsMost)), said},
	}, nil
}

// Apply implements executors.Action. The API has no precondition and overwrites an entry that is there, so the list is read once more; what
// remains of the race is the time of one call.
func (a *restore) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	k, api, err := reopen(env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	all, err := list(ctx, api, env.Now)
	if err != nil {
		return executors.Receipt{}, err
	}
	if err := k.precondition(all); err != nil {
		return executors.Receipt{}, err
	}
	if err := api.Do(ctx, k.call(env.Now, operation), k.answer()); err != nil {
		return executors.Receipt{}, err
	}
	return executors.Receipt{Handle: k.Network.String()}, nil
}

func reopen(env executors.Env, c executors.Change) (kept, *connect.Atlas, error) {
	var k kept
	if err := json.Unmarshal(c.Data, &k); err != nil {
		return kept{}, nil, fmt.Errorf("reading the kept change: %w", err)
	}
	if !k.Network.IsValid() || k.Network.Bits() == 0 {
		return kept{}, nil, errors.New("reading the kept change: it names no network that may be let in")
	}
	_, api, err := open(env)
	return k, api, err
}

// precondition is a conflict when the entry is not as it was planned on.
func (k kept) precondition(all []entry) error {
	e, there := at(all, k.Network)
	if there == k.Remove && (!k.Remove || e.Comment == k.Comment) {
		return nil
	}
	return &connect.CallError{
		System: System, Doing: "changing the access list's entry " + k.Network.String(), Status: http.StatusConflict,
		Err: errors.New("the entry is no longer as it was when the change was planned"),
	}
}

// call is the one call of the change. The end is counted from now: a plan may have waited for its approval.
func (k kept) call(now time.Time, operation string) connect.Request {
	if k.Remove {
		return connect.Request{
			Doing: "removing " + k.Network.String() + " from the access list", Method: http.MethodDelete, Mutates: true,
			Path: "/accessList/" + url.PathEscape(k.Network.String()),
		}
	}
	ends := now.Add(k.Lasts).UTC().Truncate(time.Second)
	if !ends.After(now) {
		ends = ends.Add(time.Second) // Atlas takes no end in the past
	}
	return connect.Request{
		Doing: "adding " + k.Network.String() + " to the access list", Method: http.MethodPost, Path: "/accessList", Mutates: true,
		Body: []permission{{CIDR: k.Network.String(), Comment: comment(operation, k.Comment), Ends: &ends}},
	}
}

// answer is what the call's answer is decoded into: one that is not the list leaves it open whether the call took effect. A removal is
// answered with nothing.
func (k kept) answer() any {
	if k.Remove {
		return nil
	}
	return &connect.AtlasPage[permission]{}
}

// commentMark begins the comment of each entry that was added here; the operation's id follows, and what the record says.
const (
	commentMark = "remediator "
	commentMost = 80
)

func comment(operation, recorded string) string {
	return connect.Line(strings.TrimSuffix(commentMark+operation+": "+recorded, ": "), commentMost)
}

// operationOf is the operation that a comment names; "" for an entry of another hand.
func operationOf(comment string) string {
	rest, ours := strings.CutPrefix(comment, commentMark)
	if !ours {
		return ""
	}
	id, _, _ := strings.Cut(rest, ":")
	return strings.TrimSuffix(id, "…")
}

// runOf is the run of an operation's id, RUN-STEP-ATTEMPT.
func runOf(operation string) string {
	for range 2 {
		operation = operation[:max(strings.LastIndex(operation, "-"), 0)]
	}
	return operation
}

// Observe implements executors.Action.
func (a *restore) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, _ executors.Receipt) (executors.Observation, error) {
	k, api, err := reopen(env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	all, err := list(ctx, api, env.Now)
	if err != nil {
		return executors.Observation{}, err
	}
	e, there := at(all, k.Network)
	switch {
	case k.Remove:
		return k.removed(e, there), nil
	case !there:
		return k.absent(env.Now.Sub(c.PlannedAt)), nil
	case operation == "" || runOf(operationOf(e.Comment)) != runOf(operation):
		return executors.Observation{Progress: executors.Foreign, Detail: "somebody else has added the entry: " + said(e), State: k.state(e)}, nil
	}
	progress, detail, err := rollout(ctx, api, k.Network)
	return executors.Observation{Progress: progress, Detail: detail, State: k.state(e)}, err
}

// removed judges what is left of an entry that was to go.
func (k kept) removed(e entry, there bool) executors.Observation {
	switch {
	case !there:
		return executors.Observation{Progress: executors.Applied, State: executors.State{k.Network.String(): "kept out"}}
	case e.Comment == k.Comment:
		return executors.Observation{Progress: executors.NotApplied, Detail: "the entry is on the access list as it was", State: k.state(e)}
	default:
		return executors.Observation{Progress: executors.Foreign, Detail: "somebody else has added the entry again: " + said(e), State: k.state(e)}
	}
}

// absent judges an entry that was to come and is not there: one that would have ended by now may have come and gone.
func (k kept) absent(since time.Duration) executors.Observation {
	if since >= k.Lasts {
		return executors.Observation{Progress: executors.Unclear, Detail: "the entry is not on the access list, and would have expired by now"}
	}
	return executors.Observation{Progress: executors.NotApplied, Detail: "the entry is not on the access list", State: executors.State{k.Network.String(): "kept out"}}
}

func (k kept) state(e entry) executors.State {
	return executors.State{k.Network.String(): "let in" + until(e.Ends)}
}

func said(e entry) string {
	return fmt.Sprintf("its comment is %q", connect.Line(e.Comment, wordsMost))
}

// rollout asks whether an entry has reached all of Atlas's networks (NetworkPermissionEntryStatus).
func rollout(ctx context.Context, api *connect.Atlas, n netip.Prefix) (executors.Progress, string, error) {
	var got struct {
		Status string `json:"STATUS"`
	}
	q := connect.Request{Doing: "asking how far " + n.String() + " is rolled out", Path: "/accessList/" + url.PathEscape(n.String()) + "/status"}
	if err := api.Do(ctx, q, &got); err != nil {
		return "", "", err
	}
	switch got.Status {
	case "ACTIVE":
		return executors.Applied, "", nil
	case "PENDING":
		return executors.Pending, "Atlas is rolling the entry out", nil
	case "FAILED":
		return executors.Failed, "Atlas did not succeed in adding the entry", nil
	default:
		return executors.Unclear, fmt.Sprintf("Atlas says that the entry is %q", connect.Line(got.Status, wordsMost)), nil
	}
}

// Undo implements executors.Action: takes the entry away again, if it is the one that the change has added.
func (a *restore) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	k, api, err := reopen(env, c)
	if err != nil {
		return executors.Change{}, err
	}
	all, err := list(ctx, api, env.Now)
	if err != nil {
		return executors.Change{}, err
	}
	e, there := at(all, k.Network)
	switch {
	case k.Remove:
		return executors.Change{}, guard.Refuse(guard.NeedsApproval, "an entry that was taken away is only restored with a human's approval")
	case !there:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s is not on the access list any more", k.Network)
	case operationOf(e.Comment) == "":
		return executors.Change{}, guard.Refuse(guard.HumanHand, "somebody else has added %s: %s", k.Network, said(e))
	}
	return k.takeaway(env, api.Project, e)
}

func (k kept) takeaway(env executors.Env, project string, e entry) (executors.Change, error) {
	data, err := json.Marshal(kept{Remove: true, Network: k.Network, Comment: e.Comment})
	if err != nil {
		return executors.Change{}, fmt.Errorf("keeping the change: %w", err)
	}
	name := k.Network.String()
	return executors.Change{
		Kind: restoreKind, Target: env.Target.Name, Data: data, PlannedAt: env.Now, Etag: "present " + name,
		Summary: fmt.Sprintf("remove %s from the access list of Atlas project %s again", name, project),
		Before:  executors.State{name: "let in for " + k.Lasts.String()}, After: executors.State{name: "kept out"},
		Selects:  []string{project + " " + name},
		UndoHint: fmt.Sprintf("atlas accessLists create %s --projectId %s", name, project),
		Evidence: []string{"the entry still is the one that was added here: " + said(e)},
	}, nil
}
