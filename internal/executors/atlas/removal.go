package atlas

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// event is one of the project's activity feed, as far as it matters here (NDSAuditViewForNdsGroup).
type event struct {
	Created time.Time `json:"created"`
	User    string    `json:"username"`
	Key     string    `json:"publicKey"`
	Entry   string    `json:"whitelistEntry"`
}

// removal is a sentence on who removed the entry, so that whoever approves sees whether a person meant it. The feed's newest page is read;
// an entry that expired is not told of.
func removal(ctx context.Context, api *connect.Atlas, n netip.Prefix) (string, error) {
	var got connect.AtlasPage[event]
	q := connect.Request{
		Doing: "asking who removed " + n.String(), Path: "/events",
		Query: url.Values{"eventType": {"NETWORK_PERMISSION_ENTRY_REMOVED"}, "itemsPerPage": {"100"}},
	}
	switch err := api.Do(ctx, q, &got); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "who removed it could not be asked: " + connect.Line(err.Error(), 2*wordsMost), nil
	}
	var last *event
	for i, e := range got.Results {
		if of, err := network(e.Entry); err == nil && of == n && (last == nil || e.Created.After(last.Created)) {
			last = &got.Results[i]
		}
	}
	if last == nil {
		return "Atlas tells of nobody who removed it lately", nil
	}
	who := connect.Line(cmp.Or(last.User, last.Key, "somebody"), wordsMost)
	return fmt.Sprintf("%s removed it on %s", who, last.Created.UTC().Format("2006-01-02 15:04 MST")), nil
}
