package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The paths, parameters and fields are those of github.com/getsentry/sentry-api-schema; the counting within the time asked about is that of
// getsentry/sentry, src/sentry/api/serializers/models/group.py; pages and limits those of getsentry/sentry-docs, docs/api.

func newSentrySystem(s *sentryServer) *system {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/0/organizations/{org}/issues/{$}", s.serve(s.list))
	mux.HandleFunc("GET /api/0/organizations/{org}/issues/{id}/{$}", s.serve(s.get))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		sentryRefusal(w, http.StatusNotFound, "The requested resource does not exist")
	})
	system := newSystem("sentry", mux)
	system.faults.retryHeader = "Retry-After"
	system.faults.body = func(status int) string { return fmt.Sprintf(`{"detail":"the sandbox was told to answer %d"}`, status) }
	return system
}

func sentryRefusal(w http.ResponseWriter, status int, detail string) {
	writeJSON(w, status, object{"detail": detail})
}

func (s *sentryServer) serve(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Sentry-Rate-Limit-Limit", "40")
		header.Set("X-Sentry-Rate-Limit-Remaining", "39")
		header.Set("X-Sentry-Rate-Limit-Reset", strconv.FormatInt(time.Now().Unix()+1, 10))
		switch {
		case r.Header.Get("Authorization") == "":
			sentryRefusal(w, http.StatusUnauthorized, "Authentication credentials were not provided.")
		case r.Header.Get("Authorization") != "Bearer "+SentryToken:
			sentryRefusal(w, http.StatusUnauthorized, "Invalid token")
		case r.PathValue("org") != SentryOrganization:
			sentryRefusal(w, http.StatusNotFound, "The requested resource does not exist")
		default:
			s.mu.Lock()
			defer s.mu.Unlock()
			h(w, r)
		}
	}
}

// sentryQuery is what the parameters of a list ask for.
type sentryQuery struct {
	projects, environments []string
	from, to               time.Time
	limit, offset          int
}

func (s *sentryServer) query(q url.Values) (sentryQuery, string) {
	out := sentryQuery{projects: q["project"], environments: q["environment"], limit: 100, to: time.Now().UTC()}
	out.from = out.to.Add(-14 * 24 * time.Hour)
	for _, p := range out.projects {
		if !slices.ContainsFunc(s.projects, func(slug string) bool { return p == slug || p == strconv.Itoa(s.projectID(slug)) }) {
			return out, "Invalid project"
		}
	}
	if period := q.Get("statsPeriod"); period != "" {
		back, err := sentryPeriod(period)
		if err != nil {
			return out, "Invalid statsPeriod"
		}
		out.from = out.to.Add(-back)
	}
	for name, at := range map[string]*time.Time{"start": &out.from, "end": &out.to} {
		if text := q.Get(name); text != "" && q.Get("statsPeriod") == "" {
			parsed, err := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(text, "Z"))
			if err != nil {
				return out, "Invalid date"
			}
			*at = parsed
		}
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return out, "Invalid limit parameter."
		}
		out.limit = n
	}
	if text := q.Get("cursor"); text != "" {
		if _, err := fmt.Sscanf(text, "0:%d:0", &out.offset); err != nil || out.offset < 0 {
			return out, "Invalid cursor parameter."
		}
	}
	return out, ""
}

func sentryPeriod(text string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	n, err := strconv.Atoi(text[:len(text)-1])
	unit, ok := units[text[len(text)-1]]
	if err != nil || !ok || n < 0 {
		return 0, fmt.Errorf("%q is no period", text)
	}
	return time.Duration(n) * unit, nil
}

// seen is what of an issue lies within a query.
type seen struct {
	*sentryIssue
	count, users int64
	total        int64 // of its whole life
	begun, last  time.Time
}

func (q sentryQuery) of(i *sentryIssue) seen {
	out := seen{sentryIssue: i}
	for _, e := range i.events {
		out.total += e.count
		if e.at.Before(q.from) || e.at.After(q.to) || len(q.environments) > 0 && !slices.Contains(q.environments, e.environment) {
			continue
		}
		out.count, out.users = out.count+e.count, out.users+e.users
		if out.begun.IsZero() || e.at.Before(out.begun) {
			out.begun = e.at
		}
		if e.at.After(out.last) {
			out.last = e.at
		}
	}
	return out
}

func (s *sentryServer) list(w http.ResponseWriter, r *http.Request) {
	q, wrong := s.query(r.URL.Query())
	if wrong != "" {
		sentryRefusal(w, http.StatusBadRequest, wrong)
		return
	}
	var all []seen
	for _, i := range s.issues {
		id := strconv.Itoa(s.projectID(i.first.Project))
		mine := len(q.projects) == 0 || slices.Contains(q.projects, i.first.Project) || slices.Contains(q.projects, id)
		unresolved := !strings.Contains(r.URL.Query().Get("query"), "is:unresolved") && r.URL.Query().Has("query") || !i.resolved
		if found := q.of(i); mine && unresolved && found.count > 0 {
			all = append(all, found)
		}
	}
	if r.URL.Query().Get("sort") == "freq" {
		slices.SortStableFunc(all, func(a, b seen) int { return cmp.Compare(b.count, a.count) })
	}
	start := min(q.offset, len(all))
	end := min(start+q.limit, len(all))
	page := []any{}
	for _, i := range all[start:end] {
		page = append(page, s.render(i))
	}
	w.Header().Set("X-Hits", strconv.Itoa(len(all)))
	w.Header().Set("Link", sentryLinks(r, start, end, q.limit, len(all)))
	writeJSON(w, http.StatusOK, page)
}

// sentryLinks always names both neighbours and says whether there is anything on them.
func sentryLinks(r *http.Request, start, end, limit, all int) string {
	link := func(rel string, results bool, cursor string) string {
		return fmt.Sprintf(`<http://%s%s?&cursor=%s>; rel=%q; results="%t"; cursor=%q`, r.Host, r.URL.Path, cursor, rel, results, cursor)
	}
	return link("previous", start > 0, fmt.Sprintf("0:%d:1", max(start-limit, 0))) + ", " + link("next", end < all, fmt.Sprintf("0:%d:0", end))
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z07:00") }

// render shows an issue as lists do: count, userCount and the two times are those within the query, the issue's own stand in lifetime.
func (s *sentryServer) render(i seen) object {
	return object{
		"id": strconv.Itoa(i.id), "shortId": strings.ToUpper(i.first.Project) + "-" + strconv.Itoa(i.id), "title": i.first.Title,
		"culprit": i.first.Culprit, "level": i.first.Level, "status": pick(i.resolved, "resolved", "unresolved"), "type": "error",
		"project": object{"id": strconv.Itoa(s.projectID(i.first.Project)), "slug": i.first.Project, "name": i.first.Project, "platform": "node"},
		"count":   strconv.FormatInt(i.count, 10), "userCount": i.users, "firstSeen": stamp(i.begun), "lastSeen": stamp(i.last),
		"lifetime": object{
			"count": strconv.FormatInt(i.total, 10), "userCount": i.users, "firstSeen": stamp(i.firstSeen), "lastSeen": stamp(i.last), "stats": nil,
		},
		"filtered": nil, "metadata": object{}, "permalink": "https://mixillo.sentry.io/issues/" + strconv.Itoa(i.id) + "/",
	}
}

// get shows one issue over its whole life, and its first release.
func (s *sentryServer) get(w http.ResponseWriter, r *http.Request) {
	at := slices.IndexFunc(s.issues, func(i *sentryIssue) bool { return strconv.Itoa(i.id) == r.PathValue("id") })
	if at < 0 {
		sentryRefusal(w, http.StatusNotFound, "The requested resource does not exist")
		return
	}
	i := s.issues[at]
	out := s.render(sentryQuery{to: time.Now().UTC()}.of(i))
	out["firstSeen"], out["firstRelease"], out["lastRelease"] = stamp(i.firstSeen), nil, nil
	delete(out, "lifetime")
	delete(out, "filtered")
	if i.first.Release != "" {
		out["firstRelease"] = object{"version": i.first.Release, "shortVersion": i.first.Release, "dateCreated": i.firstSeen}
	}
	writeJSON(w, http.StatusOK, out)
}
