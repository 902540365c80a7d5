package connect

import "testing"

// TestPagerDutyLogged: what was told is found by its last line, wherever PagerDuty shows it, and nothing else is.
func TestPagerDutyLogged(t *testing.T) {
	t.Parallel()
	const line = "remediator: message m-1"
	entry := func(kind, fields string) string { return `{"log_entries":[{"type":"` + kind + `",` + fields + `}]}` }
	for name, c := range map[string]struct {
		log, incident string
		want          bool
	}{
		"in an update":           {log: entry("status_update_log_entry", `"message":"mended\n\nremediator: message m-1\n"`), want: true},
		"in a channel":           {log: entry("responder_request_log_entry", `"channel":{"type":"api","message":"help\nremediator: message m-1"}`), want: true},
		"of a longer id":         {log: entry("status_update_log_entry", `"message":"mended\n\nremediator: message m-10"`)},
		"in the middle":          {log: entry("status_update_log_entry", `"message":"mended\nremediator: message m-1\nnot quite"`)},
		"among the requests":     {log: `{"log_entries":[]}`, incident: `"responder_requests":[{"message":"help\nremediator: message m-1"}],`, want: true},
		"of another request":     {log: `{"log_entries":[]}`, incident: `"responder_requests":[{"message":"help"}],`},
		"nowhere, and no object": {log: `{"log_entries":[null,7]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, map[string][]answer{
				"GET /incidents/P1/log_entries": {{body: c.log}},
				"GET /incidents/P1":             {{body: `{"incident":{` + c.incident + `"id":"P1","status":"triggered"}}`}},
			})
			got, err := a.Logged(t.Context(), "P1", line)
			if err != nil || got != c.want {
				t.Errorf("%t, %v", got, err)
			}
		})
	}
}
