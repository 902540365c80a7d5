package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// Observe implements executors.Action. The mark that the script left tells how a flush ended. Without it nothing was flushed, if the same
// process has answered all along and nothing can have removed the mark since.
func (a *flush) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, _ executors.Receipt) (executors.Observation, error) {
	p, server, err := planned(env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	var (
		mark  any
		lines map[string]string
	)
	err = server.Session(ctx, p.Database, func(ctx context.Context, s *connect.Session) (err error) {
		// The mark is read first: whatever can have removed it by then has been counted by the time that the counters are read.
		if mark, err = s.Read(ctx, "looking for the mark of the flush", "GET", flushKeys+operation); err != nil {
			return err
		}
		lines, err = s.Info(ctx, "all")
		return err
	})
	if err != nil {
		return executors.Observation{}, err
	}
	if text, ok := mark.(string); ok {
		return p.ended(text, c), nil
	}
	if env.Now.Sub(c.PlannedAt) > markStays {
		return unclear("the mark of the flush would be gone by now"), nil
	}
	if why := p.doubt(lines); why != "" {
		return unclear("the server has no mark of the flush, but that proves nothing: " + why), nil
	}
	return executors.Observation{Progress: executors.NotApplied, Detail: "the server has no mark of the flush, and nothing can have removed one", State: c.Before}, nil
}

func unclear(detail string) executors.Observation {
	return executors.Observation{Progress: executors.Unclear, Detail: detail}
}

// ended reads a mark: "done 17", "stopped 17 NOPERM …", or "begun" alone, which the script leaves only if it ends as it never should.
func (p part) ended(mark string, c executors.Change) executors.Observation {
	word, rest, _ := strings.Cut(mark, " ")
	n, why, _ := strings.Cut(rest, " ")
	switch word {
	case "done":
		detail := fmt.Sprintf("%s keys were removed, all that there were: %s", shown(n), p.words())
		return executors.Observation{Progress: executors.Applied, Detail: detail, State: c.After}
	case "stopped":
		detail := fmt.Sprintf("%s keys were removed, and then the server refused to go on: %s", shown(n), shown(why))
		return executors.Observation{Progress: executors.Failed, Detail: detail}
	default:
		return unclear("the server began with the flush and does not tell how it ended")
	}
}

// doubt says what may have removed a mark. "" means that nothing can have.
func (p part) doubt(lines map[string]string) string {
	switch {
	case lines["run_id"] != p.RunID:
		return "another process answers than the one that was to be flushed, after a restart or failover"
	case lines["role"] != "master":
		return "the server has become a replica since"
	case flushes(lines) != p.Flushes:
		return "a database of the server was flushed since"
	case p.Prefix != "" && lines["evicted_keys"] != p.Evicted:
		return "the server has evicted keys since"
	}
	return ""
}
