package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// atlasEntry is one entry of the project's IP access list.
type atlasEntry struct {
	network netip.Prefix
	comment string
	ends    time.Time // zero: never
	active  time.Time // when it has been rolled out
	failed  bool
}

// atlasPermission is an entry as the API shows and takes it. A single address is shown in both ways.
type atlasPermission struct {
	CIDR    string     `json:"cidrBlock,omitempty"`
	Address string     `json:"ipAddress,omitempty"`
	Comment string     `json:"comment,omitempty"`
	Ends    *time.Time `json:"deleteAfterDate,omitempty"`
	Group   string     `json:"groupId,omitempty"`
}

func (e *atlasEntry) show() atlasPermission {
	p := atlasPermission{CIDR: e.network.String(), Comment: e.comment, Group: AtlasProject}
	if e.network.IsSingleIP() {
		p.Address = e.network.Addr().String()
	}
	if !e.ends.IsZero() {
		ends := e.ends.UTC().Truncate(time.Second)
		p.Ends = &ends
	}
	return p
}

// live drops what has expired and lists the rest in the order in which it was added.
func (a *atlas) live() []*atlasEntry {
	now := time.Now()
	a.entries = slices.DeleteFunc(a.entries, func(e *atlasEntry) bool { return !e.ends.IsZero() && now.After(e.ends) })
	return a.entries
}

func (a *atlas) find(entry string) *atlasEntry {
	network, err := atlasNetwork(entry)
	if err != nil {
		return nil
	}
	for _, e := range a.live() {
		if e.network == network {
			return e
		}
	}
	return nil
}

// atlasNetwork reads an address or a network.
func atlasNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func (a *atlas) listEntries(r *http.Request) (int, any) {
	shown := []atlasPermission{}
	for _, e := range a.live() {
		shown = append(shown, e.show())
	}
	return atlasPage(a, r, shown)
}

func (a *atlas) showEntry(r *http.Request) (int, any) {
	e := a.find(r.PathValue("entry"))
	if e == nil {
		return atlasNoEntry(r)
	}
	return http.StatusOK, e.show()
}

func atlasNoEntry(r *http.Request) (int, any) {
	entry := r.PathValue("entry")
	return atlasRefuses(http.StatusNotFound, "ATLAS_NETWORK_PERMISSION_ENTRY_NOT_FOUND",
		fmt.Sprintf("IP Address %s not on Atlas access list for group %s.", entry, AtlasProject), entry, AtlasProject)
}

func (a *atlas) entryStatus(r *http.Request) (int, any) {
	e := a.find(r.PathValue("entry"))
	switch {
	case e == nil:
		return atlasNoEntry(r)
	case e.failed:
		return http.StatusOK, object{"STATUS": "FAILED"}
	case time.Now().Before(e.active):
		return http.StatusOK, object{"STATUS": "PENDING"}
	default:
		return http.StatusOK, object{"STATUS": "ACTIVE"}
	}
}

// before lets happen what was scripted to come right before the next change.
func (a *atlas) before() {
	if a.next != nil {
		next := a.next
		a.next = nil
		next()
	}
}

func (a *atlas) addEntries(r *http.Request) (int, any) {
	a.before()
	var asked []atlasPermission
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked) == 0 {
		return atlasRefuses(http.StatusBadRequest, "INVALID_JSON", "Received JSON is malformed.")
	}
	added := make([]*atlasEntry, 0, len(asked))
	for _, p := range asked {
		e, problem := a.entryOf(p)
		if problem != "" {
			return atlasRefuses(http.StatusBadRequest, "INVALID_ATTRIBUTE", problem)
		}
		if a.refuses && a.find(e.network.String()) != nil {
			return atlasRefuses(http.StatusConflict, "DUPLICATE_ENTRY", fmt.Sprintf("%s is on the access list already.", e.network))
		}
		added = append(added, e)
	}
	for _, e := range added {
		a.put(e, AtlasClientID)
	}
	status, body := a.listEntries(r)
	if status == http.StatusOK {
		status = http.StatusCreated
	}
	return status, body
}

// entryOf judges an entry as Atlas does: one of address and network, and an end within a week.
func (a *atlas) entryOf(p atlasPermission) (*atlasEntry, string) {
	if (p.CIDR == "") == (p.Address == "") {
		return nil, "Exactly one of cidrBlock and ipAddress must be given."
	}
	network, err := atlasNetwork(p.CIDR + p.Address)
	if err != nil || network != network.Masked() {
		return nil, "The address or network is invalid."
	}
	e := &atlasEntry{network: network, comment: p.Comment, active: time.Now().Add(a.rollout), failed: a.fails}
	if p.Ends != nil {
		e.ends = *p.Ends
		if left := time.Until(e.ends); left <= 0 || left > 7*24*time.Hour {
			return nil, "deleteAfterDate must be in the future and within a week."
		}
	}
	return e, ""
}

// put adds an entry. One that is there already is overwritten: Atlas tells nobody of a duplicate
// (terraform-provider-mongodbatlas, project_ip_access_list: "will result in a successful resource creation").
func (a *atlas) put(e *atlasEntry, by string) {
	verb := "access_entry_added"
	if i := slices.IndexFunc(a.live(), func(o *atlasEntry) bool { return o.network == e.network }); i >= 0 {
		verb = "access_entry_overwritten"
		a.entries[i] = e
	} else {
		a.entries = append(a.entries, e)
	}
	a.record(verb, e.network.String(), by, object{"comment": e.comment, "ends": e.ends})
	a.tell("NETWORK_PERMISSION_ENTRY_ADDED", e.network.String(), by)
}

func (a *atlas) deleteEntry(r *http.Request) (int, any) {
	a.before()
	e := a.find(r.PathValue("entry"))
	if e == nil {
		return atlasNoEntry(r)
	}
	a.remove(e, AtlasClientID)
	return http.StatusNoContent, nil
}

func (a *atlas) remove(e *atlasEntry, by string) {
	a.entries = slices.DeleteFunc(a.entries, func(o *atlasEntry) bool { return o == e })
	a.record("access_entry_deleted", e.network.String(), by, object{"comment": e.comment})
	a.tell("NETWORK_PERMISSION_ENTRY_REMOVED", e.network.String(), by)
}

// tell adds to the project's activity feed.
func (a *atlas) tell(kind, entry, by string) {
	event := object{
		"id": fmt.Sprintf("%024x", len(a.events)+1), "created": time.Now().UTC().Truncate(time.Second), "eventTypeName": kind,
		"groupId": AtlasProject, "whitelistEntry": entry,
	}
	if by == Human {
		event["username"] = "ann@example.com"
	} else {
		event["publicKey"] = by
	}
	a.events = append([]object{event}, a.events...)
}

func (a *atlas) listEvents(r *http.Request) (int, any) {
	kinds := r.URL.Query()["eventType"]
	var shown []object
	for _, e := range a.events {
		if kind, _ := e["eventTypeName"].(string); len(kinds) == 0 || slices.Contains(kinds, kind) {
			shown = append(shown, e)
		}
	}
	return atlasPage(a, r, shown)
}
