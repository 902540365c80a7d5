package logging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"

	"github.com/mixillo/remediator/internal/executors"
)

// Questions about requests read the request log, which has one entry for each.
const (
	defaultRequests = 5000 // read at most
	mostRequests    = 10_000
	defaultLeast    = 20 // on which a share must rest
)

// checkRequests says in plain words what is wrong with the parameters that questions about requests share.
func checkRequests(t executors.Target, window time.Duration, revision string, most, least int) error {
	if least < 0 {
		return errors.New("min_requests must not be negative")
	}
	return check(t, window, revision, most, mostRequests)
}

// requests reads the request log. Each entry that tells of a request is given to each.
func (s scope) requests(ctx context.Context, most int, each func(*loggingpb.LogEntry)) (extent, freshness, error) {
	fresh, err := s.fresh(ctx)
	if err != nil {
		return extent{}, freshness{}, err
	}
	x, err := s.read(ctx, most, func(e *loggingpb.LogEntry) {
		if e.GetHttpRequest() != nil {
			each(e)
		}
	}, s.requestLog())
	return x, fresh, err
}

// few says why shares of so few requests are not told, "" if they are.
func few(n, least int64, s scope) string {
	if n >= least {
		return ""
	}
	return fmt.Sprintf("only %d requests of %s are logged in the last %s, %d are needed", n, s.service, s.length().Round(time.Second), least)
}
