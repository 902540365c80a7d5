package connect

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// acknowledgedAs is an incident in the status, with the acknowledgements of a service, of two users and of one without a name.
func acknowledgedAs(status string) string {
	return `{"incident":{"id":"P1","status":"` + status + `","resolved_at":"2030-01-02T05:00:00Z","acknowledgements":[
		{"at":"2030-01-02T03:00:00Z","acknowledger":{"id":"S1","type":"service_reference","summary":"api"}},
		{"at":"2030-01-02T03:04:05Z","acknowledger":{"id":"U1","type":"user_reference","summary":"Ann"}},
		{"at":"2030-01-02T03:05:00Z","acknowledger":{"id":"U2","type":"user","summary":"Bo"}},
		{"at":"soon","acknowledger":{"id":"U3","type":"user_reference"}},
		{"at":"2030-01-02T03:06:00Z","acknowledger":{"id":"","type":"user_reference","summary":"nobody"}}]}}`
}

func TestIncidentSaysWhichUsersAcknowledged(t *testing.T) {
	t.Parallel()
	users := []Acknowledgement{
		{UserID: "U1", User: "Ann", At: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)},
		{UserID: "U2", User: "Bo", At: time.Date(2030, 1, 2, 3, 5, 0, 0, time.UTC)},
		{UserID: "U3", User: "U3"},
	}
	for status, want := range map[string][]Acknowledgement{StatusAcknowledged: users, StatusTriggered: nil, StatusResolved: nil} {
		a := newAccount(t, map[string][]answer{"GET /incidents/P1": {{body: acknowledgedAs(status)}}})
		in, err := a.Incident(t.Context(), "P1")
		if diff := cmp.Diff(want, in.Acknowledgements); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", status, err, diff)
		}
		if end := time.Date(2030, 1, 2, 5, 0, 0, 0, time.UTC); !in.ResolvedAt.Equal(end) {
			t.Errorf("it was resolved at %s", in.ResolvedAt)
		}
	}
}

func TestIncidentSaysWhatItWasMergedInto(t *testing.T) {
	t.Parallel()
	const reason = `"resolve_reason":{"type":"merge_resolve_reason","incident":{"id":"P2","type":"incident_reference"}}`
	for body, want := range map[string]string{
		`"status":"resolved",` + reason:                                            "P2",
		`"status":"triggered",` + reason:                                           "", // it was opened again
		`"status":"resolved","resolve_reason":null`:                                "",
		`"status":"resolved","resolve_reason":{"type":"x","incident":{"id":"P3"}}`: "",
	} {
		a := newAccount(t, map[string][]answer{"GET /incidents/P1": {{body: `{"incident":{"id":"P1",` + body + `}}`}}})
		if in, err := a.Incident(t.Context(), "P1"); err != nil || in.MergedInto != want {
			t.Errorf("%s: merged into %q, want %q: %v", body, in.MergedInto, want, err)
		}
	}
}

func TestFindAnyTakesTheNewestOfAll(t *testing.T) {
	t.Parallel()
	list := `{"incidents":[
		{"id":"OPEN","status":"triggered","created_at":"2030-01-02T00:00:00Z"},
		{"id":"GONE","status":"resolved","created_at":"2030-01-03T00:00:00Z"},
		{"id":"OLD","status":"resolved","created_at":"2030-01-01T00:00:00Z"}]}`
	a := newAccount(t, map[string][]answer{"GET /incidents": {{body: list}, {body: `{"incidents":[]}`}}})
	if in, found, err := a.FindAny(t.Context(), "k"); err != nil || !found || in.ID != "GONE" {
		t.Errorf("FindAny = %v, %t, %v", in, found, err)
	}
	if in, found, err := a.FindAny(t.Context(), "k"); err != nil || found {
		t.Errorf("none: FindAny = %v, %t, %v", in, found, err)
	}
	if _, _, err := a.FindAny(t.Context(), ""); !IsPermanent(err) {
		t.Errorf("empty key: %v", err)
	}
	want := "GET /incidents?date_range=all&incident_key=k&limit=25&sort_by=created_at%3Adesc"
	if diff := cmp.Diff([]string{want, want}, a.sent()); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}
