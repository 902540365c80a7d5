package cloudarmor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
)

// The description of a rule that was changed here: "remediator OPERATION END". Cloud Armor keeps 64 characters, so the dashes of the run's id
// are left out and the end is in minutes.
const (
	marker    = "remediator"
	endLayout = "20060102T1504Z"
)

var marked = regexp.MustCompile(`^remediator ([A-Za-z0-9-]+) (\d{8}T\d{4}Z)$`)

// endOf is the end of a change's time as descriptions tell it, rounded up.
func endOf(at time.Time) string {
	return at.UTC().Add(time.Minute - time.Nanosecond).Truncate(time.Minute).Format(endLayout)
}

// mark is the description that a change leaves.
func mark(operation, end string) string {
	if len(operation) >= 36 {
		if id, err := uuid.Parse(operation[:36]); err == nil {
			operation = strings.ReplaceAll(id.String(), "-", "") + operation[36:]
		}
	}
	return marker + " " + operation + " " + end
}

// sameRun reports whether a rule carries the mark of an operation, or of another call of the same run that landed after it was taken for lost.
func sameRun(rule *computepb.SecurityPolicyRule, operation string) bool {
	found := marked.FindStringSubmatch(rule.GetDescription())
	wanted := marked.FindStringSubmatch(mark(operation, endOf(time.Time{})))
	return found != nil && wanted != nil && runOf(found[1]) == runOf(wanted[1])
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

// ends reads when the time of a rule of ours is over; false if the rule is not ours.
func ends(rule *computepb.SecurityPolicyRule) (time.Time, bool) {
	m := marked.FindStringSubmatch(rule.GetDescription())
	if m == nil {
		return time.Time{}, false
	}
	at, err := time.Parse(endLayout, m[2])
	return at, err == nil
}

// form is what is compared of a rule.
type form struct {
	Action   string   `json:"action"`
	Networks []string `json:"networks,omitempty"` // sorted
	Preview  bool     `json:"preview,omitempty"`
	Count    int32    `json:"count,omitempty"`    // requests
	Interval int32    `json:"interval,omitempty"` // in seconds
	// Marked says that the rule carries the mark of its change instead of the description.
	Marked      bool   `json:"marked,omitempty"`
	Description string `json:"description,omitempty"`
	// Rest is a digest of everything else of the rule.
	Rest string `json:"rest"`
}

// ours tells a rule that carries the mark of a change.
func (f *form) ours() bool { return marked.MatchString(f.Description) }

// formOf gives a rule's form, its description as it is.
func formOf(rule *computepb.SecurityPolicyRule) *form {
	if rule == nil {
		return nil
	}
	threshold := rule.GetRateLimitOptions().GetRateLimitThreshold()
	networks := slices.Clone(rule.GetMatch().GetConfig().GetSrcIpRanges())
	slices.Sort(networks)
	return &form{
		Action: rule.GetAction(), Networks: networks, Preview: rule.GetPreview(), Count: threshold.GetCount(), Interval: threshold.GetIntervalSec(),
		Description: rule.GetDescription(), Rest: restOf(rule),
	}
}

// restOf identifies what form does not name. The API adds kind by itself, and false where nothing was said.
func restOf(rule *computepb.SecurityPolicyRule) string {
	rest := proto.CloneOf(rule)
	rest.Kind, rest.Description, rest.Preview, rest.Action = nil, nil, nil, nil
	if c := rest.GetMatch().GetConfig(); c != nil {
		c.SrcIpRanges = nil
	}
	if o := rest.GetRateLimitOptions(); o != nil {
		o.RateLimitThreshold = nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(rest)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:16]
}

// same compares with a rule as it is now; end is that of the change whose mark it may carry.
func (f *form) same(rule *computepb.SecurityPolicyRule, end string) bool {
	now := formOf(rule)
	if f == nil || now == nil {
		return f == nil && now == nil
	}
	described := f.Description == now.Description
	if m := marked.FindStringSubmatch(now.Description); f.Marked {
		described = len(m) > 2 && m[2] == end
	}
	return described && f.Action == now.Action && slices.Equal(f.Networks, now.Networks) && f.Preview == now.Preview && f.Count == now.Count &&
		f.Interval == now.Interval && f.Rest == now.Rest
}

// String shows a rule to people.
func (f *form) String() string {
	switch {
	case f == nil:
		return "none"
	case f.Count > 0:
		text := fmt.Sprintf("%s at %d requests in %d s", f.Action, f.Count, f.Interval)
		if f.Preview {
			text += ", in preview only"
		}
		return text
	}
	return f.Action + " " + strings.Join(f.Networks, ", ")
}
