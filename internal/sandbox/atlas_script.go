package sandbox

import (
	"fmt"
	"slices"
	"time"
)

// AtlasEntry scripts an entry of the project's IP access list.
type AtlasEntry struct {
	Entry   string        `json:"entry"` // address or network
	Comment string        `json:"comment,omitempty"`
	Lasts   time.Duration `json:"lasts,omitempty"` // not divided by Speed; 0: for ever
}

// AddAtlasEntry lets a person add an entry.
func (w *World) AddAtlasEntry(e AtlasEntry) error {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	return w.atlas.humanAdds(e)
}

func (a *atlas) humanAdds(e AtlasEntry) error {
	network, err := atlasNetwork(e.Entry)
	if err != nil {
		return fmt.Errorf("adding an entry: %w", err)
	}
	entry := &atlasEntry{network: network, comment: e.Comment}
	if e.Lasts != 0 {
		entry.ends = time.Now().Add(e.Lasts)
	}
	a.put(entry, Human)
	return nil
}

// AddAtlasEntryBeforeNextChange lets a person add an entry right before the API's next change is made.
func (w *World) AddAtlasEntryBeforeNextChange(e AtlasEntry) error {
	if _, err := atlasNetwork(e.Entry); err != nil {
		return fmt.Errorf("adding an entry: %w", err)
	}
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	w.atlas.next = func() { _ = w.atlas.humanAdds(e) }
	return nil
}

// RemoveAtlasEntry lets a person delete an entry.
func (w *World) RemoveAtlasEntry(entry string) error {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	e := w.atlas.find(entry)
	if e == nil {
		return fmt.Errorf("removing an entry: %s is not on the access list", entry)
	}
	w.atlas.remove(e, Human)
	return nil
}

// AtlasEntries lists the access list: what may connect now.
func (w *World) AtlasEntries() []AtlasEntry {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	var out []AtlasEntry
	for _, e := range w.atlas.live() {
		shown := AtlasEntry{Entry: e.network.String(), Comment: e.comment}
		if !e.ends.IsZero() {
			shown.Lasts = time.Until(e.ends)
		}
		out = append(out, shown)
	}
	return out
}

// SetAtlasCluster adds a cluster or replaces the one of that name.
func (w *World) SetAtlasCluster(c AtlasCluster) {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	c = c.withDefaults()
	w.atlas.clusters = append(slices.DeleteFunc(w.atlas.clusters, func(o AtlasCluster) bool { return o.Name == c.Name }), c)
	w.atlas.record("set_cluster", c.Name, Human, object{"state": c.State, "paused": c.Paused})
}

// AddAtlasSlowQuery lets the Performance Advisor see a slow operation.
func (w *World) AddAtlasSlowQuery(q AtlasSlowQuery) {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	w.atlas.slow = append(w.atlas.slow, q)
}

// SuggestAtlasIndex lets the Performance Advisor suggest an index.
func (w *World) SuggestAtlasIndex(x AtlasIndex) {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	w.atlas.indexes = append(w.atlas.indexes, x)
}

// ExpireAtlasTokens ends all tokens at once.
func (w *World) ExpireAtlasTokens() {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	clear(w.atlas.tokens)
}

// AtlasBehaviour scripts how the API works; zero fields leave what is.
type AtlasBehaviour struct {
	TokenLife        time.Duration `json:"token_life"`        // not divided by Speed
	PageSize         int           `json:"page_size"`         // the most that one page holds
	Rollout          time.Duration `json:"rollout"`           // until a new entry is active; divided by Speed
	RefuseDuplicates bool          `json:"refuse_duplicates"` // answer 409 instead of overwriting
	FailRollout      bool          `json:"fail_rollout"`      // new entries end as FAILED
}

// SetAtlas changes how the API works.
func (w *World) SetAtlas(b AtlasBehaviour) {
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	w.atlas.life = pick(b.TokenLife == 0, w.atlas.life, b.TokenLife)
	w.atlas.pageSize = pick(b.PageSize == 0, w.atlas.pageSize, b.PageSize)
	w.atlas.rollout = pick(b.Rollout == 0, w.atlas.rollout, w.cfg.scaled(b.Rollout))
	w.atlas.refuses, w.atlas.fails = b.RefuseDuplicates, b.FailRollout
}

func atlasVerbs() map[string]verb {
	return map[string]verb{
		"atlas-add-entry":                    only((*World).AddAtlasEntry),
		"atlas-add-entry-before-next-change": only((*World).AddAtlasEntryBeforeNextChange),
		"atlas-remove-entry":                 only(func(w *World, e AtlasEntry) error { return w.RemoveAtlasEntry(e.Entry) }),
		"atlas-set-cluster":                  quiet((*World).SetAtlasCluster),
		"atlas-add-slow-query":               quiet((*World).AddAtlasSlowQuery),
		"atlas-suggest-index":                quiet((*World).SuggestAtlasIndex),
		"atlas-expire-tokens":                quiet(func(w *World, _ struct{}) { w.ExpireAtlasTokens() }),
		"atlas-behave":                       quiet((*World).SetAtlas),
	}
}
