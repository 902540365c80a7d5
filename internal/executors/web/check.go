package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "http.check",
		Doc:  "Asks a chain of requests, such as health, login and a query with the login's token, and tells which one fails and why.",
		New:  func() executors.Probe { return &check{} },
		Fact: CheckFact{},
	})
}

const (
	mostSteps         = 8
	defaultCheckTries = 2
	maxTaken          = 8 << 10 // bytes of a token
)

// check asks the steps in order, up to the first that is not answered as expected.
type check struct {
	// Connection is the one of kind http that the steps are sent to.
	Connection string `yaml:"connection"`
	// Steps are asked in this order.
	Steps []step `yaml:"steps"`
	// Tries is how often the chain is asked from its beginning when a step is sick; default 2.
	Tries int `yaml:"tries"`
	// Timeout of one step, body included; default 3s. All steps and tries together end after 12s.
	Timeout time.Duration `yaml:"timeout"`
	// Every is the pause between tries; default 1s.
	Every time.Duration `yaml:"every"`
	// Control is a URL that answers even while the target is down; default: the target's. See http.get.
	Control string `yaml:"control"`
}

// step is one request of a chain, and what its answer should be.
type step struct {
	// Name of the step in facts: small letters, digits, _ and -.
	Name string `yaml:"name"`
	// Method is GET, the default, HEAD, or POST where login or reads says why.
	Method string `yaml:"method"`
	// Path below the connection's endpoint.
	Path string `yaml:"path"`
	// Login says that the POST proves who we are and changes nothing; refused with 400, 401, 403 or 422 it is told as login_refused.
	Login bool `yaml:"login"`
	// Reads says that the POST only reads, as a query or search does.
	Reads bool `yaml:"reads"`
	// Headers are sent as they are written.
	Headers map[string]string `yaml:"headers"`
	// Body of a POST, sent as a JSON object.
	Body map[string]any `yaml:"body"`
	// Secrets are further fields of the body: the name of a field, and that of one of the connection's secrets.
	Secrets map[string]string `yaml:"secrets"`
	// Bearer is what an earlier step took, sent as the bearer token in place of the connection's own.
	Bearer string `yaml:"bearer"`
	// Use are headers whose values an earlier step took.
	Use map[string]string `yaml:"use"`
	// Expect is what the answer should be.
	Expect expectation `yaml:"expect"`
	// Take keeps texts of the answer for later steps: a name, and the JSON pointer to the text. They never leave the probe.
	Take map[string]string `yaml:"take"`
	// Numbers are told by the fact: a name, and the JSON pointer to the number in the answer.
	Numbers map[string]string `yaml:"numbers"`
}

// expectation is what an answer should be.
type expectation struct {
	// Status of the answer; default: any from 200 to 299.
	Status int `yaml:"status"`
	// JSON are JSON pointers into the answer, and the value that is expected there, or {exists: true} or {exists: false}.
	JSON map[string]any `yaml:"json"`
}

// Reason says why a chain failed. The set is closed.
type Reason string

// The reasons: no answer or a broken one, a status that was not expected, a value that was not, an answer that is no JSON, and a login
// that was refused, for which our own credential may be to blame.
const (
	NoAnswer     Reason = "no_answer"
	BadStatus    Reason = "status"
	Assertion    Reason = "assertion"
	NotJSON      Reason = "not_json"
	LoginRefused Reason = "login_refused"
)

// CheckFact is what http.check finds. It holds names and numbers of the rules file and of HTTP, never a text of an answer. It does not speak
// for a target's health check: a query may fail because of what the service depends on.
type CheckFact struct {
	// OK says that all steps were answered as expected.
	OK bool `cel:"ok"`
	// Sick says that in every try a step got no answer in time, a refused connection, or a status of 500 and above.
	Sick bool `cel:"sick"`
	// FailedStep is the name of the step that failed last; "" if none did.
	FailedStep string `cel:"failed_step"`
	// Reason is no_answer, status, assertion, not_json or login_refused; "" if no step failed.
	Reason string `cel:"reason"`
	// Status of the last answer; 0 when there was none.
	Status int64 `cel:"status"`
	// Latency of all steps of the last try.
	Latency time.Duration `cel:"latency"`
	// StepMS is how long each step of the last try took, in milliseconds, by name.
	StepMS map[string]any `cel:"step_ms"`
	// Numbers are those that the steps ask for, by name; none of a step that was not answered as expected.
	Numbers map[string]any `cel:"numbers"`
	// Tries is how many were made.
	Tries int64 `cel:"tries"`
	// Failed is how many of them were sick.
	Failed int64 `cel:"failed"`
	// Error says in words what was wrong with the last step.
	Error string `cel:"error"`
	// OurFault says that the last step failed on our side of the network: it says nothing about what was asked.
	OurFault bool `cel:"our_fault"`
	// ControlAnswered says that the control address was asked because all tries were sick, and answered.
	ControlAnswered bool `cel:"control_answered"`
}

// IsSick lets a run tell whether things got worse after an act.
func (f *CheckFact) IsSick() bool { return f.Sick }

// Connects implements executors.Connecting.
func (p *check) Connects() (name, kind string) { return p.Connection, connectionKind }

// Validate tells in plain words what is wrong with the parameters.
func (p *check) Validate(t executors.Target) error {
	switch {
	case p.Connection == "":
		return errors.New("connection must name one of kind http")
	case len(p.Steps) == 0 || len(p.Steps) > mostSteps:
		return fmt.Errorf("there must be 1 to %d steps", mostSteps)
	case p.Tries < 0 || p.Tries > mostTries:
		return fmt.Errorf("tries must be between 1 and %d", mostTries)
	case p.Timeout < 0 || p.Every < 0 || cmp.Or(p.Timeout, defaultTimeout) > mostTime:
		return fmt.Errorf("timeout and every must not be negative, and timeout at most %s", mostTime)
	}
	if control := cmp.Or(p.Control, t.Control); control != "" {
		if _, err := parse(control); err != nil {
			return err
		}
	}
	var names, taken []string
	for i, s := range p.Steps {
		if slices.Contains(names, s.Name) {
			return fmt.Errorf("two steps are called %s", s.Name)
		}
		if err := s.validate(taken); err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, s.Name, err)
		}
		names = append(names, s.Name)
		for name := range s.Take {
			taken = append(taken, name)
		}
	}
	return nil
}

var stepName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// validate: a probe is asked whenever a rule is judged, tested or explained, so that a method with an effect needs a word for why it has
// none here.
func (s step) validate(taken []string) error {
	switch {
	case !stepName.MatchString(s.Name):
		return errors.New("a step's name is made of small letters, digits, _ and -")
	case !slices.Contains([]string{"", http.MethodGet, http.MethodHead, http.MethodPost}, s.Method):
		return errors.New("method must be GET, HEAD or POST: a probe changes nothing")
	case (s.Method == http.MethodPost) != (s.Login || s.Reads):
		return errors.New("a POST needs login: true or reads: true, and nothing else may have them: a probe changes nothing")
	case s.Login && s.Reads:
		return errors.New("login and reads exclude each other")
	case s.Method != http.MethodPost && len(s.Body)+len(s.Secrets) > 0:
		return errors.New("only a POST has a body or secrets in it")
	case s.Expect.Status != 0 && (s.Expect.Status < 200 || s.Expect.Status > 499):
		return errors.New("an expected status is between 200 and 499: above that, what answers is sick")
	}
	if err := connect.CheckPath(s.Path); err != nil {
		return err
	}
	return errors.Join(s.validateNames(taken), s.validatePointers())
}

func (s step) validateNames(taken []string) error {
	for header := range s.Headers {
		if err := connect.CheckHeader(header); err != nil {
			return err
		}
	}
	wanted := []string{s.Bearer}
	for header, name := range s.Use {
		if err := connect.CheckHeader(header); err != nil {
			return err
		}
		wanted = append(wanted, cmp.Or(name, " "))
	}
	for _, name := range wanted {
		if name != "" && !slices.Contains(taken, name) {
			return fmt.Errorf("no step before this one takes %q", name)
		}
	}
	for field := range s.Secrets {
		if _, twice := s.Body[field]; twice {
			return fmt.Errorf("%s is both in body and in secrets", field)
		}
	}
	return nil
}

func (s step) validatePointers() error {
	for path, value := range s.Expect.JSON {
		if err := pointer(path).check(); err != nil {
			return err
		}
		if m, isMap := value.(map[string]any); isMap {
			if _, asked := (wish{m}).existence(); !asked {
				return fmt.Errorf("%s: expected is a value, {exists: true} or {exists: false}", path)
			}
		}
	}
	for word, named := range map[string]map[string]string{"take": s.Take, "numbers": s.Numbers} {
		for name, path := range named {
			if err := pointer(path).check(); err != nil {
				return err
			}
			if name == "" || path == "" {
				return errors.New(word + " needs names and pointers")
			}
		}
	}
	return nil
}

// Ask implements executors.Probe.
func (p *check) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, err := connect.Get[*connect.API](env.Connections, p.Connection)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, err := p.try(ctx, env, api)
	if err != nil {
		return executors.Answer{}, fmt.Errorf("checking %s: %w", p.Connection, err)
	}
	answer := executors.Answer{Fact: &fact, Summary: fact.summary(p.Connection, len(p.Steps))}
	switch blame := blames(ctx, env, fact.Sick, fact.OurFault, cmp.Or(p.Control, env.Target.Control)); blame {
	case theirs:
	case theirsByControl:
		fact.ControlAnswered = true
	default:
		answer.Unknown = []string{"ok", "sick", "status", "reason", "failed_step"}
		answer.Summary += "; " + string(blame)
	}
	return answer, ctx.Err()
}

// try asks the chain until it is not sick. An error means that it could not be asked, not that it failed.
func (p *check) try(ctx context.Context, env executors.Env, api *connect.API) (CheckFact, error) {
	bounded, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	tries := int64(cmp.Or(p.Tries, defaultCheckTries))
	failed := int64(0)
	for n := int64(1); ; n++ {
		c := newChain(api, cmp.Or(p.Timeout, defaultTimeout))
		fact, sick, err := c.walk(bounded, p.Steps)
		if err != nil || ctx.Err() != nil {
			return CheckFact{}, errors.Join(err, ctx.Err())
		}
		if sick {
			failed++
		}
		fact.Tries, fact.Failed = n, failed
		if !sick {
			return fact, nil
		}
		fact.Sick = true
		if n == tries || pause(bounded, cmp.Or(p.Every, env.Scale(defaultPause))) != nil {
			return fact, ctx.Err()
		}
	}
}

func (f CheckFact) summary(asked string, steps int) string {
	times := ""
	if f.Failed > 0 {
		times = fmt.Sprintf(", after %d of %d tries were sick", f.Failed, f.Tries)
	}
	if f.OK {
		return fmt.Sprintf("all %d steps of the check of %s were answered as expected in %d ms%s%s", steps, asked, f.Latency.Milliseconds(), times, f.told())
	}
	return strings.TrimSuffix(fmt.Sprintf("the check of %s failed in its step %s: %s%s", asked, f.FailedStep, f.Error, times), ": ")
}

// told shows the numbers.
func (f CheckFact) told() string {
	var words strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.Numbers)) {
		fmt.Fprintf(&words, "; %s: %v", name, f.Numbers[name])
	}
	return words.String()
}
