package sources

import (
	"context"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// Hold says that a person took an incident in hand, or let go of it. The last one by At counts.
type Hold struct {
	IncidentID  string
	IncidentKey string // "" when the incident has none of its own, as one with several alerts
	// By is the person's name, for people; their id where there is no name, "" when nobody is named. It is data from outside.
	By string
	// ByID is the sender's id of that person. One that equals what Self gives is no hold: a delivery may come before Self is known.
	ByID   string
	At     time.Time // by the sender's clock
	Lifted bool      // the incident is in nobody's hand any more
}

// Reread is implemented by sources that can be asked, just before a call, how an alert stands now. An error says that it is not known,
// and never holds a secret. It changes nothing and ends with ctx.
type Reread interface {
	Reread(ctx context.Context, connections connect.Set, a alert.Alert) (Standing, error)
}

// Standing is how an alert stands at its sender when it is asked.
type Standing struct {
	Known   bool      // false: the sender cannot be asked about this alert, and Detail says why
	Firing  bool      // false also for one that its sender holds back behind another
	EndedAt time.Time // by the sender's clock; zero while it fires, and where the sender does not say
	// AcknowledgedBy names the people, other than us, who have it in hand now, "" when there is nobody. It is data from outside.
	AcknowledgedBy string
	Detail         string // what a reader wants to know beside it; "" for a plain answer
}
