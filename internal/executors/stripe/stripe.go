// Package stripe asks a Stripe account whether its webhooks reach us and whether payments succeed. It diagnoses only: there is no action,
// and neither amounts nor anything of a customer is read.
package stripe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds and the name of the connection.
const System = "stripe"

const (
	pageSize = 100 // the most that Stripe gives
	maxPages = 10
	// most is how many objects of a list are counted.
	most = pageSize * maxPages

	shortest = time.Minute
	longest  = 72 * time.Hour // as long as Stripe tries to deliver an event
)

// object is what every object of a list has.
type object struct {
	ID      string `json:"id"`
	Created int64  `json:"created"` // seconds of the epoch
}

func (o object) id() string      { return o.ID }
func (o object) made() time.Time { return time.Unix(o.Created, 0).UTC() }
func (o object) complete() bool  { return o.ID != "" && o.Created > 0 }

type listed interface {
	id() string
	complete() bool
}

// list reads a list, newest first, to its end or until so many pages were read. Whole says that it ended (docs.stripe.com/api/pagination).
func list[T listed](ctx context.Context, api *connect.Stripe, what string, q url.Values, pages int) (all []T, whole bool, err error) {
	doing := "listing " + what
	q = maps.Clone(q)
	for range pages {
		var page struct {
			Object  string `json:"object"`
			Data    []T    `json:"data"`
			HasMore *bool  `json:"has_more"`
		}
		if err := api.Do(ctx, connect.Request{Doing: doing, Path: "/v1/" + what, Query: q}, &page); err != nil {
			return nil, false, err
		}
		incomplete := slices.ContainsFunc(page.Data, func(one T) bool { return !one.complete() })
		if page.Object != "list" || page.HasMore == nil || incomplete || *page.HasMore && len(page.Data) == 0 {
			return nil, false, fmt.Errorf("stripe: %s: the answer is no list that can be read", doing)
		}
		all = append(all, page.Data...)
		if !*page.HasMore {
			return all, true, nil
		}
		q.Set("starting_after", all[len(all)-1].id())
	}
	return all, false, nil
}

// within is the query for what was created from then on.
func within(from time.Time) url.Values {
	return url.Values{"limit": {strconv.Itoa(pageSize)}, "created[gte]": {strconv.FormatInt(ceil(from), 10)}}
}

// ceil is the first whole second that is not before t: what was created before an act must not count as after it.
func ceil(t time.Time) int64 {
	seconds := t.Unix()
	if t.Nanosecond() > 0 {
		seconds++
	}
	return seconds
}

// begins is when the window begins: no earlier than what verification looks at.
func begins(env executors.Env, window, otherwise time.Duration) time.Time {
	if window == 0 {
		window = env.Scale(otherwise)
	}
	from := env.Now.Add(-window)
	if env.Since.After(from) {
		return env.Since
	}
	return from
}

func checkWindow(window time.Duration) error {
	if window < 0 || window > 0 && window < shortest || window > longest {
		return errors.New("window must be between 1m and 72h")
	}
	return nil
}

func open(env executors.Env) (*connect.Stripe, error) {
	return connect.Get[*connect.Stripe](env.Connections, System)
}

// commonest is the key with the greatest count, the first in the alphabet among equals; "" for none.
func commonest(counts map[string]int64) (key string, n int64) {
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if counts[k] > n {
			key, n = k, counts[k]
		}
	}
	return key, n
}
