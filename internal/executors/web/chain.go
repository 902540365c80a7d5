package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mixillo/remediator/internal/connect"
)

// connectionKind is the kind of the connections that are named here.
const connectionKind = "http"

// chain is one walk through the steps of a check. What it took and the secrets it read live as long as it does.
type chain struct {
	api    *connect.API
	client *http.Client
	taken  map[string]connect.Value
	told   map[string]any // numbers of the answers
}

func newChain(api *connect.API, timeout time.Duration) *chain {
	root, err := api.Below("/")
	if err != nil { // "/" is below everything
		panic("web: " + err.Error())
	}
	return &chain{api: api, client: newClient(root, timeout), taken: map[string]connect.Value{}, told: map[string]any{}}
}

// failure is why a step failed.
type failure struct {
	reason Reason
	words  string
	sick   bool
	ours   bool
}

// walk asks the steps up to the first that fails. An error means that a step could not be asked at all.
func (c *chain) walk(ctx context.Context, steps []step) (fact CheckFact, sick bool, err error) {
	fact.StepMS, fact.Numbers = map[string]any{}, c.told
	for _, s := range steps {
		req, err := c.request(ctx, s)
		if err != nil {
			return fact, false, fmt.Errorf("step %s: %w", s.Name, err)
		}
		began := time.Now()
		status, body, _, err := exchange(c.client, req)
		took := time.Since(began)
		fact.Latency, fact.StepMS[s.Name] = fact.Latency+took, took.Milliseconds()
		if fact.Status = int64(status); err != nil {
			fact.Status = 0
		}
		if f := c.judge(s, status, body, err); f != nil {
			fact.FailedStep, fact.Reason, fact.Error, fact.OurFault = s.Name, string(f.reason), f.words, f.ours
			return fact, f.sick, nil
		}
	}
	fact.OK = true
	return fact, false, nil
}

func (c *chain) request(ctx context.Context, s step) (*http.Request, error) {
	u, err := c.api.Below(s.Path)
	if err != nil {
		return nil, err
	}
	body, err := c.body(s)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(s.Method, http.MethodGet), u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the address cannot be asked")
	}
	if _, err := c.api.Authorize(req); err != nil {
		return nil, err
	}
	for name, value := range s.Headers {
		req.Header.Set(name, value)
	}
	for name, taken := range s.Use {
		req.Header.Set(name, c.taken[taken].Reveal())
	}
	if s.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.taken[s.Bearer].Reveal())
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// body is the JSON of a POST, with the secrets that are read for it now.
func (c *chain) body(s step) ([]byte, error) {
	if s.Method != http.MethodPost {
		return nil, nil
	}
	fields := map[string]any{}
	maps.Copy(fields, s.Body)
	for field, name := range s.Secrets {
		secret, err := c.api.Secret(name)
		if err != nil {
			return nil, err
		}
		fields[field] = secret.Reveal()
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, errors.New("the body is none that JSON can tell")
	}
	return text, nil
}

// refusals are how a login says no.
var refusals = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity}

// judge says what is wrong with an answer; nil is nothing. Nothing of the answer's text is part of the words.
func (c *chain) judge(s step, status int, body []byte, err error) *failure {
	expected := s.Expect.Status
	switch {
	case err != nil:
		return &failure{reason: NoAnswer, words: "no answer: " + reason(err), sick: true, ours: ours(err)}
	case status >= http.StatusInternalServerError:
		return &failure{reason: BadStatus, words: fmt.Sprintf("status %d", status), sick: true}
	case expected == 0 && status >= 200 && status < 300, status == expected:
		return c.assert(s, body)
	case s.Login && slices.Contains(refusals, status):
		return &failure{reason: LoginRefused, words: fmt.Sprintf("the login was refused with status %d", status)}
	default:
		return &failure{reason: BadStatus, words: fmt.Sprintf("status %d", status)}
	}
}

func (c *chain) assert(s step, body []byte) *failure {
	if len(s.Expect.JSON)+len(s.Take)+len(s.Numbers) == 0 {
		return nil
	}
	answer, err := decode(body)
	if err != nil {
		return &failure{reason: NotJSON, words: "the answer: " + err.Error()}
	}
	for _, path := range slices.Sorted(maps.Keys(s.Expect.JSON)) {
		value, found := pointer(path).in(answer)
		switch w := (wish{s.Expect.JSON[path]}); {
		case w.met(value, found):
		case !found:
			return &failure{reason: Assertion, words: path + " is not there"}
		default:
			return &failure{reason: Assertion, words: path + " is " + kindOf(value)}
		}
	}
	if f := c.take(s, answer); f != nil {
		return f
	}
	return c.tell(s, answer)
}

// tell keeps the numbers that the fact tells.
func (c *chain) tell(s step, answer any) *failure {
	for _, name := range slices.Sorted(maps.Keys(s.Numbers)) {
		value, _ := pointer(s.Numbers[name]).in(answer)
		written, _ := value.(json.Number)
		number, err := written.Float64()
		if err != nil {
			return &failure{reason: Assertion, words: s.Numbers[name] + " is no number"}
		}
		c.told[name] = number
	}
	return nil
}

func (c *chain) take(s step, answer any) *failure {
	for _, name := range slices.Sorted(maps.Keys(s.Take)) {
		value, _ := pointer(s.Take[name]).in(answer)
		text, ok := value.(string)
		if !ok || text == "" || len(text) > maxTaken || strings.ContainsFunc(text, unicode.IsControl) {
			return &failure{reason: Assertion, words: s.Take[name] + " is no text to go on with"}
		}
		c.taken[name] = connect.Value(text)
	}
	return nil
}
