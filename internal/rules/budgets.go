package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/guard"
)

// maxWindows is how many windows one budget may have.
const maxWindows = 6

// budgets are the windows of a rule, of its target and of the fleet, at real speed.
type budgets [3][]guard.Window

// builtinBudgets are those of a file that says nothing of them.
func builtinBudgets() budgets {
	pair := func(hourly, daily int) []guard.Window {
		return []guard.Window{{Most: hourly, Per: time.Hour}, {Most: daily, Per: day}}
	}
	return budgets{pair(2, 4), pair(2, 4), pair(6, 20)}
}

// parseWindow reads a window such as 2/1h; problem says what is wrong with it.
func parseWindow(text string) (w guard.Window, problem string) {
	most, per, _ := strings.Cut(text, "/")
	number, err := strconv.Atoi(most)
	length, ok := parseDuration(per)
	switch {
	case err != nil || !ok:
		return w, show(text) + " is no window"
	case number < 1:
		return w, "a window must allow at least 1 act"
	case length < minWait || length > maxLookBack:
		return w, fmt.Sprintf("a window must be between %s and %s long", words(minWait), words(maxLookBack))
	}
	return guard.Window{Most: number, Per: length}, ""
}

// scope is what one mapping says of one budget: a list of windows, or the numbers of an hour and of a day.
type scope struct {
	key           string // under budgets
	windows       []string
	prefix        string // of per_hour and per_day
	hourly, daily *int
}

// scopes are in the order of budgets.
func (g *guardText) scopes() [3]scope {
	return [3]scope{
		{"rule", g.Budgets.Rule, "", g.PerHour, g.PerDay},
		{"target", g.Budgets.Target, "target_", g.TargetPerHour, g.TargetPerDay},
		{"fleet", g.Budgets.Fleet, "fleet_", g.FleetPerHour, g.FleetPerDay},
	}
}

// over lays what a mapping says over what is said more generally. A list takes the place of the whole budget; a number takes that of its
// window alone.
func (g *guardText) over(general budgets) budgets {
	for i, s := range g.scopes() {
		if len(s.windows) > 0 {
			general[i] = nil
		}
		for _, text := range s.windows {
			if w, problem := parseWindow(text); problem == "" {
				general[i] = append(general[i], w)
			}
		}
		general[i] = withWindow(withWindow(general[i], s.hourly, time.Hour), s.daily, day)
	}
	return general
}

// withWindow gives the windows with another number for one of them; a nil number changes nothing.
func withWindow(windows []guard.Window, most *int, per time.Duration) []guard.Window {
	if most == nil {
		return windows
	}
	w := guard.Window{Most: *most, Per: per}
	windows = slices.Clone(windows)
	if i := slices.IndexFunc(windows, func(w guard.Window) bool { return w.Per == per }); i >= 0 {
		windows[i] = w
		return windows
	}
	return append(windows, w)
}

// atSpeed gives the budgets at the world's speed.
func (b *builder) atSpeed(windows []guard.Window) []guard.Window {
	windows = slices.Clone(windows)
	for i := range windows {
		windows[i].Per = scale(windows[i].Per, b.speed)
	}
	return windows
}

// checkBudgets reports windows that cannot be read, that are too many, and that are said twice.
func (b *builder) checkBudgets(d *decoder, g *guardText) {
	for _, list := range []*[]string{&g.Budgets.Rule, &g.Budgets.Target, &g.Budgets.Fleet} {
		if n := len(*list); *list != nil && (n == 0 || n > maxWindows) {
			b.at(d.node(list, nil), mistake{id: "bad-budget", message: fmt.Sprintf("a budget has 1 to %d windows", maxWindows), hint: windowHint})
		}
		b.checkWindows(d, *list)
	}
	for _, s := range g.scopes() {
		for key, number := range map[string]*int{s.prefix + "per_hour": s.hourly, s.prefix + "per_day": s.daily} {
			if number != nil && len(s.windows) > 0 {
				b.at(d.node(number, nil), mistake{id: "bad-budget", message: fmt.Sprintf("%s and budgets.%s exclude each other", key, s.key),
					hint: fmt.Sprintf("write the window under budgets.%s", s.key)})
			}
		}
	}
}

const windowHint = "a window is NUMBER/DURATION, such as 2/1h or 10/7d"

func (b *builder) checkWindows(d *decoder, list []string) {
	seen := map[time.Duration]bool{}
	for i := range list {
		if !d.okText(&list[i]) {
			continue
		}
		w, problem := parseWindow(list[i])
		if problem == "" && seen[w.Per] {
			problem = fmt.Sprintf("there is a window of %s already", words(w.Per))
		}
		seen[w.Per] = true
		if problem != "" {
			b.at(d.node(&list[i], nil), mistake{id: "bad-budget", message: problem, hint: windowHint})
		}
	}
}
