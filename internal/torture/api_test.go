package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// api asks whichever server answers.
type api struct {
	bases  []string
	token  string
	client http.Client
	turn   atomic.Int64
}

func newAPI(bases []string, token string) *api {
	return &api{bases: bases, token: token, client: http.Client{Timeout: 3 * time.Second}}
}

// call asks one server after the other, once each.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var all []error
	for range a.bases {
		base := a.bases[int(a.turn.Add(1))%len(a.bases)]
		err := a.callAt(ctx, base, method, path, in, out)
		var refused *refusedError
		if err == nil || errors.As(err, &refused) {
			return err
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// refusedError is an answer other than 2xx.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.status, e.text)
}

func (a *api) callAt(ctx context.Context, base, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		body = bytes.NewReader(encoded(in))
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 500:
		return fmt.Errorf("the server answered %d", resp.StatusCode)
	case resp.StatusCode >= 300:
		return &refusedError{status: resp.StatusCode, text: string(text)}
	}
	return json.Unmarshal(text, out)
}

// insist asks until a server answers, or ctx ends.
func (a *api) insist(ctx context.Context, method, path string, in, out any) error {
	for {
		err := a.call(ctx, method, path, in, out)
		var refused *refusedError
		if err == nil || errors.As(err, &refused) {
			return err
		}
		if !pause(ctx, 200*time.Millisecond) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// runs lists the newest runs on a target.
func (a *api) runs(ctx context.Context, target string) ([]remediation.Run, error) {
	var listed struct{ Runs []remediation.Run }
	err := a.insist(ctx, http.MethodGet, "/v1/runs?limit=20&target="+target, nil, &listed)
	return listed.Runs, err
}

// release lets the automation try the target again, whatever became of the last time.
func (a *api) release(ctx context.Context, target string) error {
	return a.insist(ctx, http.MethodPost, "/v1/release", map[string]string{"target": target}, &struct{}{})
}

// unpin starts a run by hand; "" when the server would not.
func (a *api) unpin(ctx context.Context, target string) (string, error) {
	var started struct{ Run string }
	err := a.insist(ctx, http.MethodPost, "/v1/unpin", map[string]string{"target": target, "reason": "the next release is out"}, &started)
	var refused *refusedError
	if errors.As(err, &refused) {
		return "", nil
	}
	return started.Run, err
}

// counts of what there is to do.
type counts struct {
	Counts struct {
		Events   map[string]int
		Runs     map[string]int
		Messages int
	}
}

func (a *api) counts(ctx context.Context) (counts, error) {
	var c counts
	return c, a.insist(ctx, http.MethodGet, "/v1/status", nil, &c)
}
