package http

import (
	"errors"
	nethttp "net/http"
	"regexp"

	"github.com/mixillo/remediator/internal/remediation"
)

var (
	digestText   = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
	revisionName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,62}[a-z0-9])?$`)
)

func (e *edge) approve(w nethttp.ResponseWriter, r *nethttp.Request) { e.answerPlan(w, r, true) }

func (e *edge) deny(w nethttp.ResponseWriter, r *nethttp.Request) { e.answerPlan(w, r, false) }

// answerPlan takes a person's answer. The digest says which plan they have seen; a no says why.
func (e *edge) answerPlan(w nethttp.ResponseWriter, r *nethttp.Request, approved bool) {
	req, err := decode(r, "run", "digest", "reason")
	switch {
	case err != nil:
	case req.Run == "":
		err = errors.New("name a run")
	case !digestText.MatchString(req.Digest):
		err = errors.New("give the digest of the plan, at least its first 12 characters")
	case !approved:
		err = req.needReason()
	case len(req.Reason) > maxReason:
		err = req.needReason()
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	a := remediation.Approval{Run: req.Run, Digest: req.Digest, Actor: actor(r), Reason: req.Reason, Approved: approved, At: e.cfg.Now()}
	if err := e.cfg.Consent.Answer(r.Context(), a); err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "a plan was answered", "run", a.Run, "approved", approved, "actor", a.Actor)
	answer(w, ok, map[string]any{"run": a.Run, "approved": approved})
}

func (q request) needRevision() error {
	switch {
	case q.Target == "":
		return errors.New("name a target")
	case !revisionName.MatchString(q.Revision):
		return errors.New("revision is the short name of a revision")
	default:
		return nil
	}
}

// mark says that a revision cannot be gone back past.
func (e *edge) mark(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "target", "revision", "reason")
	if err == nil {
		err = errors.Join(req.needRevision(), req.needReason())
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	m := remediation.Mark{Target: req.Target, Revision: req.Revision, Reason: req.Reason, Actor: actor(r), At: e.cfg.Now()}
	if err := e.cfg.Consent.Mark(r.Context(), m); err != nil {
		e.fail(w, r, err)
		return
	}
	answer(w, ok, map[string]any{"mark": m})
}

func (e *edge) unmark(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "target", "revision")
	if err == nil {
		err = req.needRevision()
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	was, err := e.cfg.Consent.Unmark(r.Context(), req.Target, req.Revision)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "a mark was taken back", "target", req.Target, "revision", req.Revision, "actor", actor(r), "was", was)
	answer(w, ok, map[string]bool{"unmarked": was})
}

// declare says which rules count where replicas differ: those in force in the process that answers.
func (e *edge) declare(w nethttp.ResponseWriter, r *nethttp.Request) {
	hash, err := e.cfg.Consent.Declare(r.Context(), actor(r))
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "rules were declared current", "hash", hash, "actor", actor(r))
	answer(w, ok, map[string]string{"rules_hash": hash})
}
