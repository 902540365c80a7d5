package http

import (
	"context"
	nethttp "net/http"

	"github.com/go-chi/chi/v5"

	"github.com/mixillo/remediator/internal/remediation"
)

// Auditor judges the stored records.
type Auditor interface {
	// Audit verifies the part of the records that begins at a place, "" for the first; the answer names the next.
	Audit(ctx context.Context, place string) (remediation.Audit, error)
	// Head is the newest link of the fleet's chain.
	Head(ctx context.Context) (remediation.Link, error)
	// Anchored tells where a head that was written elsewhere is found.
	Anchored(ctx context.Context, a remediation.Anchor) (string, error)
}

// HeadView is the head of the fleet's chain, and what to write elsewhere to hold the chain by.
type HeadView struct {
	Anchor string           `json:"anchor"`
	Link   remediation.Link `json:"link"`
}

// AnchorView is a head that was written elsewhere and is found in the records.
type AnchorView struct {
	Anchor string `json:"anchor"`
	Where  string `json:"where"`
}

// audit verifies one part of the records: what one answer costs is bounded, however much is stored.
func (e *edge) audit(w nethttp.ResponseWriter, r *nethttp.Request) {
	part, err := e.cfg.Auditor.Audit(r.Context(), r.URL.Query().Get("place"))
	if err != nil {
		e.fail(w, r, err)
		return
	}
	part.Findings = list(part.Findings)
	answer(w, ok, part)
}

func (e *edge) head(w nethttp.ResponseWriter, r *nethttp.Request) {
	link, err := e.cfg.Auditor.Head(r.Context())
	if err != nil {
		e.fail(w, r, err)
		return
	}
	answer(w, ok, HeadView{Anchor: link.Anchor().String(), Link: link})
}

func (e *edge) anchor(w nethttp.ResponseWriter, r *nethttp.Request) {
	anchor, isOne := remediation.ParseAnchor(chi.URLParam(r, "anchor"))
	if !isOne {
		refuse(w, badRequest, "an anchor is the head of a journal, or N:HASH of the fleet's chain")
		return
	}
	where, err := e.cfg.Auditor.Anchored(r.Context(), anchor)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	answer(w, ok, AnchorView{Anchor: anchor.String(), Where: where})
}
