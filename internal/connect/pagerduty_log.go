package connect

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/PagerDuty/go-pagerduty"
)

// logPage is how many of an incident's newest log entries are read: PagerDuty gives at most so many at once.
const logPage = "100"

// Logged reports whether PagerDuty shows a text on the incident that ends in the line, so that what was told with it, a status update or a
// request for responders, was taken: in one of the newest entries of its log, in whichever field that type of entry has, or in its requests.
func (p *PagerDuty) Logged(ctx context.Context, id, line string) (bool, error) {
	doing := "reading the log of incident " + id
	if err := checkMessage(doing, id, line); err != nil {
		return false, err
	}
	var page struct {
		Entries []any `json:"log_entries"`
	}
	if err := p.direct(ctx, call{doing: doing}, http.MethodGet, "/incidents/"+id+"/log_entries?limit="+logPage, nil, &page); err != nil {
		return false, err
	}
	if ends(page.Entries, line) {
		return true, nil
	}
	in, err := p.read(ctx, doing, id)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(in.ResponderRequests, func(r pagerduty.ResponderRequest) bool { return ends(r.Message, line) }), nil
}

// ends reports whether a text somewhere in a JSON value ends in the line.
func ends(value any, line string) bool {
	switch v := value.(type) {
	case string:
		text := strings.TrimRight(v, "\r\n \t")
		return text == line || strings.HasSuffix(text, "\n"+line)
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return ends(one, line) })
	case map[string]any:
		for _, one := range v {
			if ends(one, line) {
				return true
			}
		}
	}
	return false
}
