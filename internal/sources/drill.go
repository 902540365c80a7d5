package sources

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/alert"
)

// DrillKey is the top-level key of a body that marks its delivery as a drill. It stands in the body so that it is under the signature of
// whoever signs.
const DrillKey = "remediator_drill"

// drillSpace begins every key of a drill.
const drillSpace = "drill/"

// Drill is the mark of a delivery that is an exercise: it is decided as in production, and nothing is touched.
type Drill struct {
	ID string `json:"id"` // letters, digits, ".", "_" and "-"; deliveries of one drill know each other, and nothing else
	// Labels stand for the alert's where the body has none and they would be looked up.
	Labels map[string]string `json:"labels,omitempty"`
}

var drillID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Check refuses a mark that names no drill, and labels out of bounds.
func (d Drill) Check() error {
	if !drillID.MatchString(d.ID) {
		return fmt.Errorf("its id %q is not made of 1 to 64 letters, digits, dots, dashes and underscores", clip(d.ID))
	}
	if len(d.Labels) == 0 {
		return nil
	}
	return checkLabels(d.Labels)
}

// Apart gives the delivery of a body in the space it belongs to: that of its drill where the body is marked as one, else the real one. An
// error means that the mark cannot be read: such a delivery is neither a drill nor real.
func Apart(body []byte, d Delivery) (Delivery, error) {
	mark, err := drillOf(body)
	switch {
	case err != nil:
		return Delivery{}, fmt.Errorf("the key %s: %w", DrillKey, err)
	case mark != nil:
		return mark.apart(d), nil
	case strings.HasPrefix(d.DedupKey, drillSpace): // a real sender's id never is one of a drill's
		d.DedupKey = "/" + d.DedupKey
	}
	return d, nil
}

// drillOf reads the mark of a body that its source has understood; nil where there is none. Bodies that do not name the key cost a search.
func drillOf(body []byte) (*Drill, error) {
	if !bytes.Contains(body, []byte(DrillKey)) || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return nil, nil
	}
	var top map[string]json.RawMessage
	if err := decodeStrict(body, &top); err != nil {
		return nil, err
	}
	raw, marked := top[DrillKey]
	if !marked {
		return nil, nil
	}
	var mark Drill
	if err := decodeStrict(raw, &mark); err != nil {
		return nil, err
	}
	return &mark, mark.Check()
}

// apart moves a delivery into the drill's own space, so that nothing real is joined, ended, repeated or silenced by it, nor it by anything
// real. It is about no incident of PagerDuty's and about nobody's hand.
func (d Drill) apart(of Delivery) Delivery {
	of.Drill, of.Holds, of.Agent = d.ID, nil, ""
	if of.DedupKey != "" {
		of.DedupKey = d.space() + of.DedupKey
	}
	of.Alerts = slices.Clone(of.Alerts)
	for i := range of.Alerts {
		of.Alerts[i] = d.alert(of.Alerts[i], of.Incomplete)
	}
	switch {
	case of.Ignored == "" && len(of.Alerts) == 0:
		of.Ignored = "it is about nobody's hand"
	case of.Incomplete && len(d.Labels) == 0:
		of.Ignored = "the body has no labels, nothing is looked up for a drill, and its mark has none"
	}
	of.Incomplete = false
	if of.Ignored != "" {
		of.Ignored = d.says() + ": " + of.Ignored
	}
	of.Warning = strings.TrimSuffix(d.says()+"; "+of.Warning, "; ")
	return of
}

func (d Drill) says() string {
	return fmt.Sprintf("drill %s: decided as in production, nothing is touched", d.ID)
}

func (d Drill) space() string { return drillSpace + d.ID + "/" }

func (d Drill) alert(a alert.Alert, incomplete bool) alert.Alert {
	key := a.IncidentKey
	if key == "" {
		key = a.IncidentID
	}
	if key != "" {
		a.IncidentKey = d.space() + key
	}
	a.Episode, a.IncidentID = d.space()+a.Episode, ""
	if incomplete {
		a.Labels = d.Labels
	}
	return a
}

// Marked gives a body with the mark in it: what was under the key before is replaced. The body is a JSON object, which is written anew.
func (d Drill) Marked(body []byte) ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	var top map[string]json.RawMessage
	if err := decodeStrict(body, &top); err != nil {
		return nil, err
	}
	if top == nil {
		return nil, errors.New("the body is no JSON object, which alone can carry a mark")
	}
	mark, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("writing the mark: %w", err)
	}
	top[DrillKey] = mark
	return json.Marshal(top)
}
